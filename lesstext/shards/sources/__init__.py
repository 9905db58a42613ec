"""What people have besides plain tars, each made into one: a source opens as a stream of members.

A compressed tar is unpacked, the rows of an image parquet and the files of an image folder are
packed, into a temporary tar that everything else reads as it reads any shard.
"""
