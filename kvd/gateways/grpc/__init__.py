"""gRPC: the package kvs2 for clients of an older store, and kvd.v1 with every command and a streaming Watch.

kvd.v1 is derived from the command classes: `schema` says what a command is in Protocol Buffers, `proto` prints that
for others, `translate` carries commands and results over. The generated files, `*_pb2.py`,
are committed (`make generate`).
"""
