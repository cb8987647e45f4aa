"""What works on a data directory as a whole: backup, check, salvage, recovery."""
