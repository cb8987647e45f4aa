"""Background maintenance of a store: folding, checkpoints, trimming and disk space."""
