"""Copies answered wrongly on purpose, as they were in the field: the catalogue, and when each strikes."""
