"""The summaries in `--help` are whole: a summary that is cut says nothing."""

import click
import pytest
from click.testing import CliRunner

from kvd.cli import main


@pytest.mark.parametrize("words", [(), ("gateway",)])
def test_no_summary_is_cut(words):
    text = CliRunner().invoke(main, [*words, "--help"], terminal_width=80).stdout
    assert "..." not in text.partition("Commands:")[2]
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("name", ["http", "grpc", "tcp", "nats"])
def test_installed_help_names_the_manual_and_no_file_of_the_source(name):
    gateway = main.commands["gateway"]
    assert isinstance(gateway, click.Group)
    assert "docs/" not in gateway.commands[name].help
