"""What all gateways share: options, listeners, the daemon's connections, tokens, metrics."""
