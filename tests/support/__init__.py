"""Support of the tests: daemons and gateways as processes, fakes, recorders and checkers."""
