"""The HTTP gateway: a file for each dialect, authentication, and the server. It needs the extra kvd-server[http]."""
