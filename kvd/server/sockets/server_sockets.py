"""All sockets of a server: opened, polled and closed together."""

from collections.abc import Callable
from typing import Any

import zmq

from kvd.commands.model import Milliseconds
from kvd.limits import PUBLISH_QUEUE_MAX
from kvd.server.sockets.authenticator import ServerKeys, ZapAuthenticator
from kvd.server.sockets.change_socket import ChangeSocket
from kvd.server.sockets.command_socket import CommandSocket
from kvd.server.sockets.connections import Capacity, Connections, connections_max
from kvd.server.sockets.endpoints import AdoptedEndpoint, BoundEndpoint, Endpoints


class ServerSockets:
    """The command socket, the change socket, the authenticator and the monitors of connections."""

    def __init__(self, endpoints: Endpoints, keys: ServerKeys | None, now: Callable[[], Milliseconds]) -> None:
        """Bind the endpoints; raises StartError. With keys, only clients of the access file are accepted."""
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.now = now
        self.poller = zmq.Poller()
        try:
            # The authenticator has to be bound first: libzmq asks it about the handshakes of the others.
            self.authenticator = None if keys is None else ZapAuthenticator(self.context, keys)
            self.commands = CommandSocket(self.context, self.authenticator)
            self.changes = ChangeSocket(self.context, self.authenticator)
            self.capacity = Capacity(connections_max())
            self.clients = Connections(self.commands.socket, self.capacity, now, name="commands")
            self.watchers = Connections(self.changes.socket, self.capacity, now, name="changes")
            self.listening: list[BoundEndpoint | AdoptedEndpoint] = []
            self.publishing: list[BoundEndpoint | AdoptedEndpoint] = []
            self._bind(endpoints)
        except BaseException:
            self.context.destroy(linger=0)
            raise
        for part in (self.commands, self.changes, self.clients, self.watchers, self.authenticator):
            if part is not None:
                self.poller.register(part.socket, zmq.POLLIN)

    def _bind(self, endpoints: Endpoints) -> None:
        has_keys = self.authenticator is not None
        self.listening.extend(endpoints.bind(self.commands.socket, is_for_changes=False, has_keys=has_keys))
        self.publishing.extend(endpoints.bind(self.changes.socket, is_for_changes=True, has_keys=has_keys))

    def poll(self, wait_ms: int, revision: int) -> bool:
        """Wait for events, and handle all but requests; return whether requests have arrived."""
        events = dict(self.poller.poll(wait_ms))
        for connections in (self.clients, self.watchers):
            if connections.socket in events:
                connections.take_events()
        if self.authenticator is not None and self.authenticator.socket in events:
            self.authenticator.answer(self.now())
        if self.changes.socket in events:
            self.changes.take_subscriptions(revision, self.now())
        return self.commands.socket in events

    def reload_access(self) -> bool:
        """Read the access file again; return whether it changed. Watchers are disconnected if a client lost rights."""
        if self.authenticator is None:
            return False
        before = self.authenticator.access
        if not self.authenticator.reload():
            return False
        if self.authenticator.access.revokes_any(before):
            self.watchers.disconnect_all()
        return True

    def list_clients(self) -> list[dict[str, Any]]:
        """Return the clients of both sockets, by the time they connected."""
        return [
            {"socket": connections.name, **peer._asdict()}
            for connections in (self.clients, self.watchers)
            for peer in sorted(connections.peers.values(), key=lambda peer: peer.since)
        ]

    def endpoint_facts(self) -> dict[str, Any]:
        """Return the endpoints of INFO's section `server`."""
        return {
            "commands": [bound.endpoint for bound in self.listening],
            "changes": self.publishing[0].endpoint,
            "changes_endpoints": [bound.endpoint for bound in self.publishing],
            "publish_queue": PUBLISH_QUEUE_MAX,
        }

    def traffic_facts(self) -> dict[str, Any]:
        """Return the sockets' part of INFO's section `traffic`."""
        return {
            "malformed": self.commands.malformed,
            "replies_dropped": self.commands.replies_dropped,
            "published": self.changes.published,
            "clients": self.clients.count,
            "watchers": self.watchers.count,
            "watchers_cut": self.watchers.disconnected,
            "connections_refused": self.capacity.refused,
            "topics": len(self.changes.topics),
        }

    def close(self) -> None:
        """Close the sockets and release the endpoints."""
        for connections, watched in ((self.clients, self.commands), (self.watchers, self.changes)):
            watched.socket.disable_monitor()
            connections.socket.close(0)
            watched.socket.close()
        if self.authenticator is not None:
            self.authenticator.socket.close()
        self.context.term()
        for bound in (*self.listening, *self.publishing):
            bound.close()
