"""Gateways: separate processes that serve other protocols as clients of the daemon. They store nothing."""
