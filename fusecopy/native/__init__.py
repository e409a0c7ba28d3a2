"""Answers requests by itself, in C, where that needs no policy; the rest it leaves to `fusecopy.serving`.

Import this package before pyfuse3, whose calls of libfuse it takes.
"""

from fusecopy.native.loader import load

load()
