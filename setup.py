"""What is in C; all other metadata is in pyproject.toml.

It is optional: without a compiler the plain forms serve (kvd/server/sockets/frames.py, kvd/native). With KVD_WITHOUT_C
set nothing is compiled, for the wheel that fits every platform.
"""

import os
from glob import glob

from setuptools import Extension, setup

CORE = Extension(
    "kvd.native._core", sorted(glob("kvd/native/*.c")), depends=sorted(glob("kvd/native/*.h")), optional=True
)
FRAMES = Extension("kvd.server._frames", ["kvd/server/_frames.c"], optional=True)

setup(ext_modules=[] if os.environ.get("KVD_WITHOUT_C") else [CORE, FRAMES])
