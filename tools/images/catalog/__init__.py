"""One file for each image: each has `IMAGES`, a tuple of `Image`."""
