"""Other ways in: processes of their own, each of which is a client that speaks another protocol. They keep nothing."""
