"""Named rules over tables: what to keep, in the words of what an annotator measures."""
