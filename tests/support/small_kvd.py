"""`kvd` with small limits: folds, checkpoints and trims come after a few changes."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from kvd.cli import main
from kvd.server import storage_timers
from kvd.storage.files import journal
from kvd.storage.maintenance import fill, fold_thread, maintenance, retention, wal_size

LIMITS = [
    (journal, "WAL_PRESIZED_BYTES", 1 << 18),
    (retention, "TRIMMED_PER_COMMIT_MAX", 3),
    (maintenance, "FOLD_CHANGES", 12),
    (maintenance, "FOLD_AGE_MS", 200),
    (fill, "OVERLAY_CHANGES_MAX", 40),
    (wal_size, "WAL_CHECKPOINT_BYTES", 1 << 17),
    (maintenance, "TRIM_INTERVAL_MS", 20),
    (fold_thread, "TABLE_WAL_BYTES_MAX", 40_000),
    (fold_thread, "FOLD_CHUNK_BYTES", 20_000),
    (fold_thread, "TABLE_CHECKPOINT_CHANGES", 30),
    (storage_timers, "FSYNC_INTERVAL_MS", 10),
]


def shrink() -> None:
    """Make the limits small, in this process."""
    for module, name, value in LIMITS:
        assert hasattr(module, name)
        setattr(module, name, value)


if __name__ == "__main__":
    shrink()
    main()
