"""Pure decisions: no I/O and no clock; `now` is an argument."""
