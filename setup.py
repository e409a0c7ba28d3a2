"""The native modules; everything else is in pyproject.toml."""

from setuptools import setup

setup(
    cffi_modules=[
        f"fusecopy/build_native.py:{package}" for package in ("clone", "copying", "filesystem", "native")
    ]
)
