"""Which programs copy by which path: run on a scratch mount, watched by strace, compared with the log."""
