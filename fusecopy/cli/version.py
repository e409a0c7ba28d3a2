"""fusecopy --version: everything a bug report needs."""

import platform

from fusecopy import __version__, serving
from fusecopy.doctor.serving import running_header


def describe() -> str:
    """One line: fusecopy; pyfuse3; libfuse; kernel; FUSE protocol."""
    versions = serving.versions()
    return "; ".join(
        [
            f"fusecopy {__version__}",
            f"pyfuse3 {versions['pyfuse3']}",
            f"libfuse {versions['libfuse']}",
            f"kernel {platform.release()}",
            f"FUSE protocol {_protocol()}",
        ]
    )


def _protocol() -> str:
    header = running_header()
    return header.protocol if header else "unknown (nothing is mounted)"
