"""The schema of kvd.v1: the files are current, numbers do not change, and each error has a status."""

from importlib.resources import files

import grpc
import pytest
from msgspec import inspect
from support.rpcs import compile_proto

from kvd import errors
from kvd.commands import COMMANDS, syntax_of
from kvd.commands.syntax import Shape
from kvd.errors import CODES, BadArgument, ClientError, LockLost, LockNotAcquired, Refused, TooLarge
from kvd.gateways.common.error_body import error_body_of
from kvd.gateways.common.upstream import NotKnown
from kvd.gateways.grpc import kvd_v1_pb2, kvs2_pb2, proto
from kvd.gateways.grpc.schema import check_numbers, inner_commands, kind_of, request_of
from kvd.gateways.grpc.status import STATUS, details_of, metadata_of, sentence_of, status_of
from kvd.gateways.grpc.translate import fill, reader_of
from kvd.limits import COMMAND_BYTES_MAX, GRPC_DETAILS_BYTES_MAX, GRPC_MESSAGE_BYTES_MAX, KEYS_MAX

FILES = files("kvd.gateways.grpc")
PROTO = FILES.joinpath("kvd_v1.proto").read_text()


def test_the_proto_is_what_the_commands_are_now():
    assert proto.make_proto(PROTO) == PROTO, "run: make generate"


@pytest.mark.parametrize(("name", "made"), [("kvd_v1.proto", kvd_v1_pb2), ("kvs2.proto", kvs2_pb2)])
def test_the_generated_code_is_of_the_proto(tmp_path, name, made):
    file = compile_proto(tmp_path, name, FILES.joinpath(name).read_text())
    made.DESCRIPTOR.CopyToProto(ours := type(file)())
    for each in (file, ours):
        for field in (field for message in each.message_type for field in message.field):
            field.ClearField("json_name")  # which protoc adds when it writes descriptors
    assert ours == file, "run: make generate"


def test_each_command_that_may_stand_inside_another_has_a_number_of_its_own():
    numbers = [number for number, _ in inner_commands()]
    assert numbers == sorted(set(numbers))
    assert {command for _, command in inner_commands()} >= {COMMANDS[name] for name in ("GET", "SET", "TRANSACTION")}


@pytest.mark.parametrize(
    ("numbers", "sentence"),
    [
        ({"GET": 1, "REVERSE": 0}, "REVERSE has no grpc_number: put `grpc_number = 2` into its class"),
        ({"GET": 1, "REVERSE": 1}, "REVERSE and GET have one grpc_number: the next free one is 2"),
    ],
)
def test_a_command_without_a_number_of_its_own_is_an_error(numbers, sentence):
    with pytest.raises(LookupError, match=sentence):
        check_numbers(numbers)


def test_a_number_is_never_changed_and_never_reused():
    without_strlen = PROTO.replace("    StrLenRequest strlen = 21;\n", "")
    assert proto.make_proto(without_strlen) == PROTO, "a new command takes the next number"
    removed = PROTO.replace(
        "    StrLenRequest strlen = 21;\n", "    StrLenRequest strlen = 21;\n    OldRequest old = 99;\n"
    )
    assert "  reserved 99;\n" in proto.make_proto(removed)
    assert "  reserved 99;\n" in proto.make_proto(proto.make_proto(removed))
    with pytest.raises(LookupError, match="GET has the number 7, which clients send: it cannot become 1"):
        proto.inner_message(PROTO.replace("GetRequest get = 1;", "GetRequest get = 7;"))
    with pytest.raises(LookupError, match="the number 21 of STRLEN was another command's"):
        proto.inner_message(PROTO.replace("StrLenRequest strlen = 21;", "OldRequest old = 21;"))


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_a_field_has_the_number_of_its_place_in_the_struct(command):
    message = kvd_v1_pb2.DESCRIPTOR.message_types_by_name[request_of(command)]
    assert [field.name for field in message.fields] == list(command.__struct_fields__)
    assert [field.number for field in message.fields] == list(range(1, len(message.fields) + 1))
    repeated = [p.shape in (Shape.MANY, Shape.PAIRS, Shape.STRUCTURE) for p in syntax_of(command).parameters]
    assert [field.is_repeated for field in message.fields] == repeated
    assert all(field.has_presence or field.is_repeated for field in message.fields)


def test_a_type_without_a_form_stops_the_generator():
    with pytest.raises(TypeError, match="there is no Protocol Buffers type for this yet"):
        kind_of(inspect.type_info(dict[str, int]))
    assert kind_of(inspect.IntType(ge=-5)) == "sint64"


# Errors


def every(kind):
    """Return all subclasses of an error."""
    return [each for sub in kind.__subclasses__() for each in (sub, *every(sub))]


LOCKS = (LockLost, LockNotAcquired)  # only a client has them


@pytest.mark.parametrize(
    "kind", [*CODES.values(), *[each for each in every(ClientError) if each not in LOCKS], NotKnown]
)
def test_each_error_has_its_status(kind):
    assert kind in STATUS
    assert error_body_of(kind("so it is")).code.isupper()
    assert dict(metadata_of(kind("so it is")))["kvd-outcome"] in (errors.NOT_EXECUTED, errors.FAILED, errors.UNKNOWN)


def test_what_may_have_been_executed_is_never_one_that_a_library_repeats():
    for kind, status in STATUS.items():
        if getattr(kind, "outcome", None) == errors.UNKNOWN:
            assert status is not grpc.StatusCode.UNAVAILABLE


def test_the_code_of_a_newer_daemon_is_told():
    error = errors.refusal("TOO_NEW", "not yet", {"a": b"\xff"})
    assert status_of(error) is grpc.StatusCode.UNKNOWN
    assert metadata_of(error) == (
        ("kvd-code", "TOO_NEW"),
        ("kvd-outcome", "unknown"),
        ("kvd-details", '{"a": {"base64": "/w=="}}'),
    )


def test_what_is_told_fits_into_headers():
    assert details_of({}) == ""
    text = details_of({"first": "ü", "long": "x" * GRPC_DETAILS_BYTES_MAX, "last": 3})
    assert text == '{"first": "\\u00fc", "last": 3}'
    assert len(sentence_of(Refused("ü" * 5000)).encode()) == GRPC_MESSAGE_BYTES_MAX


# Messages


def test_what_is_forgotten_is_an_error_and_no_empty_value():
    read, pb = reader_of(COMMANDS["SET"]), kvd_v1_pb2
    with pytest.raises(BadArgument, match=r"SET: argument 2 \(value\): it is missing"):
        read(pb.SetRequest(key=b"k").SerializeToString())
    assert read(pb.SetRequest(key=b"k", value=b"").SerializeToString()) == COMMANDS["SET"](b"k", b"")
    with pytest.raises(BadArgument, match="Pair needs both of key, value"):
        reader_of(COMMANDS["MULTISET"])(pb.MultiSetRequest(pairs=[pb.Pair(key=b"k")]).SerializeToString())
    with pytest.raises(BadArgument, match="a Command is empty"):
        reader_of(COMMANDS["ONCE"])(pb.OnceRequest(token=b"12345678", write=pb.Command()).SerializeToString())


def test_too_many_parts_are_refused_before_memory_is_taken():
    request = kvd_v1_pb2.ClearRequest(keys=[b"k"] * (KEYS_MAX + 1))
    with pytest.raises(TooLarge, match=r"CLEAR: argument 1 \(keys\): 10001 are too many; at most 10000"):
        reader_of(COMMANDS["CLEAR"])(request.SerializeToString())


def test_a_command_that_the_daemon_would_break_the_connection_for_is_refused_here():
    request = kvd_v1_pb2.SetRequest(key=b"k", value=bytes(COMMAND_BYTES_MAX))
    with pytest.raises(TooLarge, match="at most"):
        reader_of(COMMANDS["SET"])(request.SerializeToString())


def test_what_is_no_value_is_a_defect_and_empty_ones_are_not_lost():
    value = kvd_v1_pb2.Value()
    with pytest.raises(KeyError):
        fill(value, object())
    for result, kind in (([], "list"), ({}, "map"), (None, "nil"), (1.5, "number"), (False, "bool"), (-1, "integer")):
        made = kvd_v1_pb2.Value()
        fill(made, result)
        assert kvd_v1_pb2.Value.FromString(made.SerializeToString()).WhichOneof("kind") == kind
