"""A server that may mark very few directories.

Run as `few_marks.py PROGRAM mount ...`; PROGRAM is passed over.
"""

import sys

from fusecopy.cli import main
from fusecopy.filesystem import watching

MARKS = 10

if __name__ == "__main__":
    setattr(watching, "MOST_MARKS", MARKS)  # noqa: B010
    main(sys.argv[2:])
