"""Whatever bytes and messages come over gRPC: a status that says so, and the server goes on."""

import random
from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf import message_factory

from actorflow.server.grpc import messages as pb
from tests.fakes.grpc_orders import RUNNING, OrderSite, create, orders
from tests.fakes.grpc_site import answer_of

pytestmark = pytest.mark.asyncio

SEED = 20_261_122
TRIES = 60
"""Messages of each kind to each method."""

LEFT_OUT = {
    "Shutdown",
    "WaitForInstanceStart",
    "WaitForInstanceCompletion",
    "GetWorkItems",
    "Watch",
}
"""They end the process, or are held open."""

UNEXPECTED = "internal error; see the server's log"
TEXTS = ("", "i-1", "order", "no", "\x00", "a\nb", "é" * 40, "x" * 2_000, "\u202e", "null", "dapr.")
NUMBERS = (0, 1, -1, 2**31 - 1, -(2**31), 7, 99)


def requests_of(site: OrderSite) -> dict[str, Any]:
    """Return the request class of every method that can be tried."""
    return {
        path[1:]: rpc.request
        for path, rpc in site.server.gate.rpcs.items()
        if path.rpartition("/")[2] not in LEFT_OUT
    }


def rubbish(dice: random.Random) -> Iterator[bytes]:
    """Yield bytes that are hardly ever a message."""
    for _ in range(TRIES):
        yield dice.randbytes(dice.choice((0, 1, 2, 7, 40, 300)))
    yield b"\x0a" + b"\xff" * 9 + b"\x01"  # a length beyond all limits
    yield b"\x0b" * 5_000  # groups in groups
    yield b"\x0a\x02\xff\xfe"  # a text that is not UTF-8


def filled(kind: Any, dice: random.Random, depth: int = 0) -> Any:
    """Return a message with any of its fields set to something, sensible or not."""
    message = kind()
    for field in message.DESCRIPTOR.fields:
        if dice.random() < 0.4:
            continue
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            getattr(message, field.name)[dice.choice(TEXTS)] = dice.choice(TEXTS)
        elif field.message_type is not None:
            if depth < 4:
                inner = filled(type_of(field.message_type), dice, depth + 1)
                if field.is_repeated:
                    getattr(message, field.name).append(inner)
                else:
                    getattr(message, field.name).CopyFrom(inner)
        else:
            value = scalar(field, dice)
            if field.is_repeated:
                getattr(message, field.name).append(value)
            else:
                setattr(message, field.name, value)
    return message


def type_of(descriptor: Any) -> Any:
    return message_factory.GetMessageClass(descriptor)


def scalar(field: Any, dice: random.Random) -> Any:
    """Return a value of a field; an enum may be one that nobody knows."""
    kind = field.cpp_type
    if kind == field.CPPTYPE_STRING:
        text = dice.choice(TEXTS)
        return text.encode() if field.type == field.TYPE_BYTES else text
    if kind == field.CPPTYPE_BOOL:
        return dice.random() < 0.5
    if kind in (field.CPPTYPE_UINT32, field.CPPTYPE_UINT64):
        return abs(dice.choice(NUMBERS)) % 2**32
    if kind == field.CPPTYPE_INT64:
        return dice.choice((*NUMBERS, 2**62, -(2**62)))
    return dice.choice(NUMBERS)


async def outcome(site: OrderSite, method: str, request: bytes) -> tuple[str, str]:
    rpc = site.channel.unary_unary(f"/{method}", response_deserializer=answer_of(method).FromString)
    call = rpc(request, timeout=120)
    code = await call.code()
    return code.name, await call.details()


async def test_no_bytes_are_answered_with_an_internal_error() -> None:
    dice = random.Random(SEED)
    async with orders(start_wait_s=0.01) as site:
        for method in requests_of(site):
            for data in rubbish(dice):
                code, said = await outcome(site, method, data)
                assert (code, said) != ("INTERNAL", UNEXPECTED), (method, data.hex())
                assert code not in ("DEADLINE_EXCEEDED", "CANCELLED"), (method, data.hex())
                assert "Traceback" not in (said or "")
        await site.start("after")
        assert await site.status("after") == RUNNING


async def test_no_message_is_answered_with_an_internal_error() -> None:
    dice = random.Random(SEED)
    async with orders(start_wait_s=0.01) as site:
        await site.start("i-1")
        for method, kind in requests_of(site).items():
            for _ in range(TRIES):
                request = filled(kind, dice)
                code, said = await outcome(site, method, request.SerializeToString())
                assert (code, said) != ("INTERNAL", UNEXPECTED), (method, request)
                assert code not in ("DEADLINE_EXCEEDED", "CANCELLED"), (method, request)
        await site.start("after")
        assert await site.status("after") == RUNNING


async def test_an_oneof_that_is_set_twice_means_the_last_one() -> None:
    async with orders() as site:
        await site.start("i-1")
        await site.finish("i-1")
        by_filter = pb.PurgeInstancesRequest(purgeInstanceFilter={}).SerializeToString()
        by_id = pb.PurgeInstancesRequest(instanceId="i-1").SerializeToString()
        assert (await outcome(site, f"{pb.TASK_HUB}/PurgeInstances", by_id + by_filter))[0] == (
            "UNKNOWN"
        )
        assert (await outcome(site, f"{pb.TASK_HUB}/PurgeInstances", by_filter + by_id))[0] == "OK"


async def test_unknown_fields_are_skipped() -> None:
    async with orders() as site:
        unknown = b"\xfa\x3f\x03abc" + b"\x80\x40\x05"  # fields 1023 and 1024
        await site.call("StartInstance", create().SerializeToString() + unknown)
        assert await site.status() == RUNNING


async def test_a_refusal_repeats_no_more_than_a_part_of_what_was_sent() -> None:
    async with orders() as site:
        code, said = await site.refusal("StartInstance", create(name="n" * 100_000))
        assert code == "INVALID_ARGUMENT"
        assert len(said) < 2_000
