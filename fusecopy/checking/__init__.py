"""Is somebody else's FUSE filesystem right about copies? Tried out on a scratch directory in its mount."""
