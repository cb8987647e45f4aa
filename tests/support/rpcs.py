"""gRPC's own client, for tests: channels, calls by their path, and the messages of a .proto in a pool of their own."""

import subprocess
import sys
from pathlib import Path

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_health.v1 import health_pb2

from kvd.gateways.grpc import kvd_v1_pb2 as pb

SERVING, NOT_SERVING, SERVICE_UNKNOWN = 1, 2, 3
LOCAL = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0))


def compile_proto(folder: Path, name: str, text: str) -> descriptor_pb2.FileDescriptorProto:
    """Return what protoc makes of a .proto."""
    (folder / name).write_text(text)
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{folder}", f"--descriptor_set_out={folder}/out", name]
    subprocess.run(command, check=True)
    return descriptor_pb2.FileDescriptorSet.FromString((folder / "out").read_bytes()).file[0]


def messages_of(file: descriptor_pb2.FileDescriptorProto) -> dict:
    """Return the message classes of a file by their names."""
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        each.name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{file.package}.{each.name}"))
        for each in file.message_type
    }


class Rpcs:
    """A channel to a gateway. `call` is unary, `stream` a stream of replies."""

    def __init__(self, target: str, token: str | None = None, credentials=None, **options) -> None:
        arguments = (*LOCAL, *((f"grpc.{name}", value) for name, value in options.items()))
        if credentials is None:
            self.channel = grpc.insecure_channel(target, arguments)
        else:
            self.channel = grpc.secure_channel(target, credentials, arguments)
        self.metadata = [] if token is None else [("authorization", f"Bearer {token}")]

    def unary(self, path: str, kind):
        return self.channel.unary_unary(
            path, request_serializer=lambda each: each.SerializeToString(), response_deserializer=kind.FromString
        )

    def call(self, path: str, request, kind, **options):
        return self.unary(path, kind)(request, metadata=self.metadata, timeout=60, **options)

    def kvd(self, rpc: str, request=None, **fields):
        """Run a command; return the Reply."""
        request = request or getattr(pb, f"{rpc}Request")(**fields)
        return self.call(f"/kvd.v1.Kvd/{rpc}", request, pb.Reply)

    def stream(self, path: str, request, kind):
        made = self.channel.unary_stream(
            path, request_serializer=lambda each: each.SerializeToString(), response_deserializer=kind.FromString
        )
        return made(request, metadata=self.metadata, timeout=60)

    def watch(self, *prefixes: bytes, since: int | None = None, history: str = ""):
        """Return the stream of a Watch."""
        request = pb.WatchRequest(prefixes=prefixes, since=since, history=history)
        return self.stream("/kvd.v1.Kvd/Watch", request, pb.Change)


def plain(value):
    """Return what a Value says, as Python has it."""
    kind = value.WhichOneof("kind")
    if kind == "nil":
        return None
    if kind == "list":
        return [plain(item) for item in value.list.items]
    if kind == "map":
        return {entry.key: plain(entry.value) for entry in value.map.entries}
    return getattr(value, kind)


def read_trailers(error: grpc.RpcError) -> dict[str, str]:
    """Return the trailing metadata of kvd's."""
    return {name: value for name, value in error.trailing_metadata() if name.startswith("kvd-")}


def check_health(rpcs, service=""):
    request = health_pb2.HealthCheckRequest(service=service)
    return rpcs.call("/grpc.health.v1.Health/Check", request, health_pb2.HealthCheckResponse).status
