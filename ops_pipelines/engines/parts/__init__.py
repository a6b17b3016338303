"""The kinds of parts that a backup holds, one module each."""
