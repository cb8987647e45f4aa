"""gRPC: the package kvs2 for clients of an older store, and kvd.v1 with every command and a streaming Watch.

kvd.v1 is derived from the command classes. `schema` maps commands to Protocol Buffers messages, `proto` prints the
.proto file, and `translate` converts messages. The generated files, `*_pb2.py`, are committed (`make generate`).
"""
