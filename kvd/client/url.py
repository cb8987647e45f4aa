"""The arguments of a client in a URL."""

from typing import Any

from kvd.client.endpoints import parse_url
from kvd.client.keys import read_keys
from kvd.client.values import check_seconds


def url_options(url: str) -> dict[str, Any]:
    """Return the arguments of a client. Raises ValueError."""
    endpoint, texts = parse_url(url)
    options: dict[str, Any] = {"endpoint": endpoint}
    if ("key" in texts) != ("server_key" in texts):
        raise ValueError("key and server_key go together: the client's key pair, and the daemon's public key")
    for name, text in texts.items():
        if name in ("timeout", "connect_timeout"):
            options[name] = _number_of(name, text)
        elif name == "decode":
            options[name] = text
        elif name == "key":
            options["keys"] = read_keys(text, texts["server_key"])
        elif name != "server_key":
            raise ValueError(
                f"{name!r} is not an option; the options are timeout, connect_timeout, decode, key and server_key"
            )
    return options


def _number_of(name: str, text: str) -> float:
    """Return a number of seconds. Raises ValueError, which names the option."""
    try:
        return check_seconds(name, float(text))
    except ValueError:
        raise ValueError(f"{name} has to be a number of seconds above 0, not {text!r}") from None
