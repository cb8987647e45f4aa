"""The command `kvsh`: which of the three ways in, with which options. Everything that is not decided here is below."""
