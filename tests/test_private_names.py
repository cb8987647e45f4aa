"""The private names of libraries that kvd uses: another version may not have them, and says so here first.

Where a name is used stands beside it; pyproject.toml bounds these libraries for their sake.
"""

import inspect

import pytest
from prompt_toolkit.history import InMemoryHistory
from sqlite_utils import Database
from sqlite_utils.utils import sqlite3
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

# kvd/gateways/http/protocol.py calls or replaces them.
METHODS = (
    "connection_made", "connection_lost", "data_received", "handle_websocket_upgrade", "on_body", "on_header",
    "on_headers_complete", "on_message_begin", "on_message_complete", "send_400_response", "shutdown",
    "_should_upgrade", "_start_asgi_task", "_unsupported_upgrade_warning",
)  # fmt: skip
# It reads or sets them.
ATTRIBUTES = ("app", "connections", "cycle", "flow", "loop", "parser", "pipeline", "transport")
CYCLE = ("disconnected", "keep_alive", "message_event", "response_complete")


@pytest.mark.parametrize("name", METHODS)
def test_uvicorns_protocol_has_the_method(name):
    assert callable(getattr(HttpToolsProtocol, name, None))


def constructor_source(function):
    """Return the source of a constructor, in which attributes are set."""
    return inspect.getsource(function.__init__)


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_uvicorns_protocol_sets_the_attribute(name):
    assert f"self.{name}" in constructor_source(HttpToolsProtocol)


@pytest.mark.parametrize("name", CYCLE)
def test_uvicorns_request_has_the_attribute(name):
    assert f"self.{name}" in constructor_source(RequestResponseCycle)


def test_uvicorn_lets_reading_be_paused():
    assert callable(FlowControl.pause_reading)


def test_prompt_toolkits_history_keeps_its_lines_newest_first():
    """kvsh/repl/history.py replaces `_loaded_strings`."""
    history = InMemoryHistory()
    history.append_string("one")
    history.append_string("two")
    assert history._loaded_strings == ["two", "one"]


def test_sqlite_utils_says_which_sqlite3_it_uses():
    """kvd/storage imports it from where sqlite-utils chooses it (kvd/storage/files/sqlite.py)."""
    assert isinstance(Database(memory=True).conn, sqlite3.Connection)
