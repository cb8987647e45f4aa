"""`python -m kvd` is `kvd`."""

from kvd.cli import main

main()
