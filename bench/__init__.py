"""Benchmarks that print ratios against named peers, measured in one run: `python -m bench [WORD...]`."""
