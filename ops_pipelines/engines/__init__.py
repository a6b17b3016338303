"""The loops that carry a decision out. They are handed their adapters."""
