"""What a store keeps in memory: overlays of unfolded changes and the key cache."""
