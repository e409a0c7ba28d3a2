"""Puts the native layer in front of libfuse, which works only before pyfuse3 is loaded."""

import importlib
import os
import sys

from fusecopy.errors import FuseUnavailableError

NATIVE = "fusecopy.native._native"


def load() -> None:
    """Load the native layer with RTLD_GLOBAL, so that pyfuse3's calls of libfuse bind to it.

    Raises:
        FuseUnavailableError: pyfuse3 is loaded already, the machine is big-endian, libfuse is of an unknown
            series, or the native layer was not built.
    """
    if NATIVE in sys.modules:
        return
    if "pyfuse3" in sys.modules:
        raise FuseUnavailableError(
            "pyfuse3 was imported before fusecopy.native, so it already calls libfuse directly",
            "import fusecopy.native first",
        )
    if sys.byteorder != "little":
        raise FuseUnavailableError(
            "this machine is big-endian, where the replies to the two copy opcodes differ in layout",
            "run fusecopy on a little-endian machine",
        )
    _import_global()
    _check_version()


def _import_global() -> None:
    flags = sys.getdlopenflags()
    sys.setdlopenflags(os.RTLD_NOW | os.RTLD_GLOBAL)
    try:
        importlib.import_module(NATIVE)
    except ImportError as error:
        raise FuseUnavailableError(
            f"the native layer of fusecopy cannot be loaded: {error}",
            "install libfuse 3 (Debian: apt install fuse3 libfuse3-dev) and build fusecopy again",
        ) from error
    finally:
        sys.setdlopenflags(flags)


def _check_version() -> None:
    """Refuse a libfuse whose table of operations may be laid out otherwise than 3.x promises."""
    version = sys.modules[NATIVE].lib.fuse_version()
    if not 313 <= version < 400:
        raise FuseUnavailableError(
            f"libfuse reports version {version // 100}.{version % 100}, fusecopy knows 3.13 and later of 3.x",
            "install libfuse 3 (Debian: apt install fuse3 libfuse3-dev) and build fusecopy again",
        )
