"""What every way into the shell shares: settings, output, outcomes, the pager, progress."""
