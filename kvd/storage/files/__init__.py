"""The files of a data directory: journal.db, table.db, their checksums and the lock."""
