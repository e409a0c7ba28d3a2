"""Judging the copies of a command: what it called, what came of it, and whether that was to be expected."""
