"""Measurements of size: much of everything, each with what it may cost at most."""
