"""Connecting to a broker, telling what it refused, and trying again."""

import os
import random
import sys
import time

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

OPTIONS = [
    # The largest batch and what surrounds it. grpcio stops at 4 MiB unless told otherwise.
    ("grpc.max_receive_message_length", 4 * 1024 * 1024 + 64 * 1024),
    # A broker that vanished without a word is noticed after 15 seconds.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    # grpcio waits up to two minutes before it connects again unless told otherwise.
    ("grpc.max_reconnect_backoff_ms", 2_000),
]

# The same request may succeed later, as docs/errors.md says. A broken connection is UNAVAILABLE.
RETRIED = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED}
RETRIED_NUMBERS = {code.value[0] for code in RETRIED}

BACKOFF_SECONDS_MIN, BACKOFF_SECONDS_MAX = 0.1, 5.0


def connect() -> grpc.Channel:
    url = os.environ.get("TOWPATH_URL", "http://127.0.0.1:7600")
    return grpc.insecure_channel(url.removeprefix("http://"), options=OPTIONS)


def describe(error: grpc.RpcError) -> str:
    """What a call failed with, for people: message, reason and hint."""
    text = error.details() or error.code().name
    status = rpc_status.from_call(error)
    for detail in status.details if status else []:
        info, hint = error_details_pb2.ErrorInfo(), error_details_pb2.Help()
        if detail.Unpack(info):
            text += f" ({info.reason})"
        elif detail.Unpack(hint):
            text += f"; {hint.links[0].description}"
    return text


class Backoff:
    """Waits longer and longer, with jitter, until something went well."""

    def __init__(self):
        self.reset()

    def reset(self):
        self.seconds = BACKOFF_SECONDS_MIN

    def wait(self, why: str):
        print(f"trying again: {why}", file=sys.stderr)
        time.sleep(self.seconds * random.uniform(0.5, 1.0))
        self.seconds = min(self.seconds * 2, BACKOFF_SECONDS_MAX)
