"""The version of kvd, in one place. This file imports nothing."""

VERSION = "0.1.0"
