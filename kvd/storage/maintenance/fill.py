"""How full the overlay is: 1 at its bound, which is a number of changes and a number of bytes."""

from kvd.limits import OVERLAY_BYTES_MAX, OVERLAY_CHANGES_MAX
from kvd.storage.memory.overlays import Overlay


def overlay_fill(overlay: Overlay) -> float:
    """Return how much of the bound an overlay uses."""
    return max(overlay.changes / OVERLAY_CHANGES_MAX, overlay.size / OVERLAY_BYTES_MAX)


def bytes_to_fill(size: int) -> float:
    """Return how much of the bound a number of bytes uses."""
    return size / OVERLAY_BYTES_MAX


def fill_to_bytes(fill: float) -> int:
    """Return how many bytes use this much of the bound."""
    return int(fill * OVERLAY_BYTES_MAX)
