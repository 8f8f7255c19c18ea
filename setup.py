"""Builds the native kernel where there is a C compiler; without one Holdfast installs and runs all the same.

Everything else about the package is in pyproject.toml.
"""

from __future__ import annotations

import sys
from glob import glob

from setuptools import Extension, setup

FLAGS = (
    ["-std=c11", "-O3", "-Wall", "-Wextra", "-fvisibility=hidden"]
    if sys.platform != "win32"
    else ["/O2", "/std:c11"]
)

setup(
    ext_modules=[
        Extension(
            "holdfast.crypto._kernel",
            sources=sorted(glob("src/holdfast/crypto/native/*.c")),
            depends=glob("src/holdfast/crypto/native/*.h"),
            define_macros=[("Py_LIMITED_API", "0x030B0000")],
            py_limited_api=True,
            optional=True,
            extra_compile_args=FLAGS,
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
