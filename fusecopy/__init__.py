"""A passthrough FUSE filesystem that serves copy_file_range and logs what became of every copy."""

__version__ = "0.1.0"
