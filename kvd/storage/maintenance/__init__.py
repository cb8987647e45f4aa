"""What keeps a store small and its disk usable: folding, checkpoints, trimming, the ballast."""
