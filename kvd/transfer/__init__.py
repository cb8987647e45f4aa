"""Entries as text and back: their `formats`, the `lines` of a file, `importing`, `exporting`, `signals`, `progress`."""
