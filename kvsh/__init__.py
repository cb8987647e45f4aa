"""kvsh: the shell of kvd."""
