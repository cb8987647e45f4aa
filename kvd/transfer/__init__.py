"""Entries as text and back: `formats`, the `lines` of a file, `importer`, `exporter`, `signals`, `progress`."""
