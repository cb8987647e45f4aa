"""Memory of a store: the overlays of unfolded changes, and the key cache."""
