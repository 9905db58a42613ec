"""DataComp's filtering track: subset lists of uids, made from its metadata, combined, handed in."""
