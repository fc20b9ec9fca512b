"""The C extension; everything else is in pyproject.toml.

One abi3 wheel serves every CPython from 3.9. PyPy has no limited API and a free-threaded CPython another one, so
their wheels carry a tag of their own.
"""

import sys
import sysconfig

from setuptools import setup

LIMITED_API = sys.implementation.name == "cpython" and not sysconfig.get_config_var("Py_GIL_DISABLED")

setup(
    cffi_modules=["_build/ffi.py:ffibuilder"],
    options={"bdist_wheel": {"py_limited_api": "cp39"}} if LIMITED_API else {},
)
