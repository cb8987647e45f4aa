"""Operations on a whole data directory: backup, check, salvage and recovery."""
