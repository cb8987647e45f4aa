"""The daemon's loop: sockets, batches, timers and signals around the engine and the store."""

from kvd.server.server import Server

__all__ = ["Server"]
