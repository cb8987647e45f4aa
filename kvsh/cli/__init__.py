"""The command line of kvsh: options, profiles, completion; and what runs: a command, a mode, a script or the prompt."""
