"""Shared by all gateways: options, listeners, connections to the daemon, tokens, metrics."""
