"""The HTTP gateway: a file for each dialect, what guards them, and the server. It needs the extra kvd-server[http]."""
