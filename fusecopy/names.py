"""Names that a mount shows: its server's own extended attributes, and that of a tree being cloned."""

PREFIX = "user.fusecopy."
"""Of every attribute of the server's own. Of everything in the mount: pid, log, backing, version, policy,
stats and what filesystem/control.py adds; of a file: copy, and how, which can only be set."""

BACKING = PREFIX + "backing"
COHERENCE = PREFIX + "coherence"
COPY = PREFIX + "copy"
HOW = PREFIX + "how"
LOG = PREFIX + "log"
PASSTHROUGH = PREFIX + "passthrough"

TEMPORARY = ".fusecopy-clone-"
"""A tree that is being cloned has a name of these and random digits until it is whole."""
