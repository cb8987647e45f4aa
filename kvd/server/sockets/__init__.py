"""The daemon's ZeroMQ sockets: commands, changes, authentication. Nothing here imports the rest of server/."""
