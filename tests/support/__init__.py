"""What tests share: daemons and gateways as processes, fakes, recorders and checkers."""
