"""The mounted passthrough: operations on names, attributes, files, directories, copies; their server."""

import fusecopy.native  # noqa: F401  (before anything in this package imports pyfuse3)
