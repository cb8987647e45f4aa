"""A gateway's door: where it listens, who is let in, which daemon is behind it. What HTTP and gRPC have in common."""

import logging
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from kvd.client.keys import Keys
from kvd.errors import BadConfiguration
from kvd.gateways.common.listeners import Address
from kvd.gateways.common.tokens import Tokens, read_tokens
from kvd.gateways.common.upstream import UpstreamPool

log = logging.getLogger(__name__)

ADVICE = (
    "Give --token-file (and --tls-cert, or the tokens can be read on the way), or listen on 127.0.0.1 or unix:PATH "
    "behind what asks who comes, or give --insecure"
)


class GatewayOptions(NamedTuple):
    """What the options say. `server_key` is a path, for the keys that the token file names."""

    url: str
    keys: Keys | None
    server_key: Path | None
    listen: Sequence[str]
    token_file: Path | None
    is_insecure: bool
    certificate: Path | None
    certificate_key: Path | None

    def check_address(self, place: Address) -> None:
        """Raise BadConfiguration for a place that others reach, where nobody is asked who he is."""
        if not (place.is_local or self.token_file or self.is_insecure):
            raise BadConfiguration(f"{place}: whoever reaches this address could read and write all. {ADVICE}")

    def check_certificate(self) -> None:
        """Raise BadConfiguration for a certificate and a key that cannot be used together."""
        if self.certificate is None and self.certificate_key is None:
            return
        if self.certificate is None or self.certificate_key is None:
            raise BadConfiguration("--tls-cert and --tls-key go together")
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.certificate, self.certificate_key)
        except OSError as error:  # ssl's own errors are of them
            said = error.strerror or error
            raise BadConfiguration(
                f"--tls-cert {self.certificate} and --tls-key {self.certificate_key} cannot be used: {said}"
            ) from error

    def tokens(self) -> Tokens | None:
        """Return who is let in; None: everybody. Raises BadConfiguration."""
        return None if self.token_file is None else read_tokens(self.token_file, self.server_key)

    def make_upstreams(self) -> UpstreamPool:
        """Return the ways to the daemon; to be called within the loop. Raises BadConfiguration."""
        return UpstreamPool(self.url, self.keys, self.tokens())

    async def reload(self, links: UpstreamPool) -> None:
        """Take up what the token file says now; raises BadConfiguration."""
        if (tokens := self.tokens()) is not None:
            await links.use_tokens(tokens)
            log.info("event=tokens_read file=%s", self.token_file)
