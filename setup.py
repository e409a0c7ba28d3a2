"""The native modules; everything else is in pyproject.toml."""

import sysconfig

from setuptools import setup

# pyfuse3 has not said that it can do without the lock, and our modules are made for the stable ABI.
if sysconfig.get_config_var("Py_GIL_DISABLED"):
    raise SystemExit("fusecopy does not run on a free-threaded Python yet; use the ordinary build of it")

setup(
    cffi_modules=[
        f"fusecopy/build_native.py:{package}" for package in ("clone", "copying", "filesystem", "native")
    ]
)
