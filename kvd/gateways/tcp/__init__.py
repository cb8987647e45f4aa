"""The gateway for a small length-prefixed TCP protocol."""
