"""The command-line options that the HTTP and gRPC gateways share: listeners, tokens, TLS, the daemon."""

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
    "behind a proxy that authenticates clients, or give --insecure"
)


class GatewayOptions(NamedTuple):
    """The options. `server_key` is the path of the daemon's public key; keys in the token file are used with it."""

    url: str
    keys: Keys | None
    server_key: Path | None
    listen: Sequence[str]
    token_file: Path | None
    is_insecure: bool
    certificate: Path | None
    certificate_key: Path | None

    def check_address(self, address: Address) -> None:
        """Raise BadConfiguration if other machines can reach the address and clients are not authenticated."""
        if not (address.is_local or self.token_file or self.is_insecure):
            raise BadConfiguration(
                f"{address}: anyone who reaches this address could read and write all keys. {ADVICE}"
            )

    def check_certificate(self) -> None:
        """Raise BadConfiguration if the certificate and its key cannot be used together."""
        if self.certificate is None and self.certificate_key is None:
            return
        if self.certificate is None or self.certificate_key is None:
            raise BadConfiguration("--tls-cert and --tls-key go together")
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.certificate, self.certificate_key)
        except OSError as error:  # ssl.SSLError is one
            reason = error.strerror or error
            raise BadConfiguration(
                f"--tls-cert {self.certificate} and --tls-key {self.certificate_key} cannot be used: {reason}"
            ) from error

    def tokens(self) -> Tokens | None:
        """Read the token file; None without one: every client is served. Raises BadConfiguration."""
        return None if self.token_file is None else read_tokens(self.token_file, self.server_key)

    def make_upstreams(self) -> UpstreamPool:
        """Return the connections to the daemon. Must be called within the loop. Raises BadConfiguration."""
        return UpstreamPool(self.url, self.keys, self.tokens())

    async def reload(self, upstreams: UpstreamPool) -> None:
        """Read the token file again and apply it. Raises BadConfiguration."""
        if (tokens := self.tokens()) is not None:
            await upstreams.use_tokens(tokens)
            log.info("event=tokens_read file=%s", self.token_file)
