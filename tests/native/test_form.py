"""The choice between the compiled and the plain form."""

import os
import subprocess
import sys

import pytest
from support.forms import built

PROGRAM = "from kvd import native; print(native.FORM, native.module is None)"


@pytest.mark.parametrize(
    ("value", "form"),
    [
        ("1", "plain True"),
        pytest.param("0", "compiled False", marks=built),
        pytest.param("", "compiled False", marks=built),
    ],
)
def test_an_environment_variable_chooses_the_plain_form(value, form):
    environment = os.environ | {"KVD_PLAIN": value}
    output = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True
    )
    assert output.stdout.strip() == form
