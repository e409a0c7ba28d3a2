"""What a directory and this machine can do for copies: measured, never guessed from a name."""
