"""The native parts: one cffi builder each, everything else is in pyproject.toml."""

from setuptools import setup

setup(
    cffi_modules=[
        "fusecopy/clone/build_native.py:ffibuilder",
        "fusecopy/copying/build_native.py:ffibuilder",
        "fusecopy/filesystem/build_native.py:ffibuilder",
        "fusecopy/native/build_native.py:ffibuilder",
    ]
)
