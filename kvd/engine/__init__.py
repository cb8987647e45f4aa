"""The state machine: commands over a reader and a writer of entries. No I/O, no clock."""
