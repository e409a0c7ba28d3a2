"""scripts/man: the man pages, from click's own data and from docs/."""
