"""The extension module in C. All other metadata is in pyproject.toml.

The extension is optional: without a compiler kvd uses its plain forms (see kvd/native). With KVD_WITHOUT_C set nothing
is compiled, for the wheel that fits every platform.
"""

import os
from glob import glob

from setuptools import Extension, setup

NATIVE = Extension(
    "kvd.native._native",
    sorted(glob("kvd/native/*.c")),
    depends=sorted(glob("kvd/native/*.h")),
    extra_compile_args=["-fvisibility=hidden"],
    optional=True,
)

setup(ext_modules=[] if os.environ.get("KVD_WITHOUT_C") else [NATIVE])
