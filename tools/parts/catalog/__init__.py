"""One file for each part: each has `PARTS`, a tuple of `Part`."""
