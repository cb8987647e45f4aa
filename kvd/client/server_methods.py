"""The methods about the daemon. methods.py has those about keys, and explains how methods are written."""

from typing import Any

from kvd.client.method import Call, method
from kvd.client.values import Codec, Text, key_bytes, same
from kvd.commands.server import Backup, Check, Commands, Config, Info, Ping


class ServerMethods:
    """The methods of every client about the daemon."""

    @method
    @staticmethod
    def ping(_codec: Codec[Any, Any], message: Text | None = None) -> Call[bytes]:
        """Return the message, or PONG.

        >>> kv.ping()
        b'PONG'
        """
        return Call(Ping(None if message is None else key_bytes(message)), same)

    @method
    @staticmethod
    def info(_codec: Codec[Any, Any], section: str | None = None) -> Call[dict[str, dict[str, Any]]]:
        """Return the state and the figures of the daemon, by section.

        >>> kv.info("server")["server"]["fsync"]
        'always'
        """
        return Call(Info(section), same)

    @method
    @staticmethod
    def config(_codec: Codec[Any, Any], option: str | None = None) -> Call[dict[str, dict[str, Any]]]:
        """Return the daemon's configuration: each option's value, its source, and whether SIGHUP changes it.

        >>> kv.config("fsync")["fsync"]["value"]
        'always'
        """
        return Call(Config(option), same)

    @method
    @staticmethod
    def check(_codec: Codec[Any, Any]) -> Call[dict[str, Any]]:
        """Read everything on the daemon's disk; return how many entries and changes were read. Raises Corrupt.

        >>> kv.check()["changes"] > 0
        True
        """
        return Call(Check(), same)

    @method
    @staticmethod
    def backup(_codec: Codec[Any, Any], name: str) -> Call[dict[str, Any]]:
        """Make the daemon write a backup of this name into its folder for backups; return what the backup holds.

        >>> kv.backup("monday.kvd")["entries"] > 0
        True
        """
        return Call(Backup(name), same)

    @method
    @staticmethod
    def commands(_codec: Codec[Any, Any], name: str | None = None) -> Call[list[dict[str, Any]]]:
        """Return the table of commands as data.

        >>> kv.commands("get")[0]["syntax"]
        'GET key'
        """
        return Call(Commands(name), same)
