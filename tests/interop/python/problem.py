"""What a broker refuses, and the page of the documentation that lists it."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from towpath.v1 import error_pb2

DOMAIN = "towpath"


@dataclass
class Problem:
    """One refusal, as a status or inside a stream."""

    code: int
    reason: str
    message: str
    metadata: dict[str, str] = field(default_factory=dict)
    hint: str = ""
    retry_after_ms: int | None = None
    # Beside these, generic clients are told in a status:
    invalid_field: str = ""
    resource: tuple[str, str] | None = None

    def __post_init__(self):
        code, names = catalogue()[self.reason]
        assert self.code == code, f"code of {self.reason}"
        assert self.metadata.keys() <= names, f"metadata of {self.reason}"


def of_call(error: grpc.RpcError) -> Problem:
    status = rpc_status.from_call(error)
    assert status is not None, f"no details: {error}"
    details = {}
    for detail in status.details:
        name = detail.TypeName().removeprefix("google.rpc.")
        details[name] = getattr(error_details_pb2, name)()
        assert detail.Unpack(details[name]), name
    info = details["ErrorInfo"]
    assert info.domain == DOMAIN
    problem = Problem(status.code, info.reason, status.message, dict(info.metadata))
    if "Help" in details:
        link = details["Help"].links[0]
        problem.hint = link.description
        assert link.url == f"docs/errors.md#{info.reason.lower()}"
    if "RetryInfo" in details:
        problem.retry_after_ms = details["RetryInfo"].retry_delay.ToMilliseconds()
    if "BadRequest" in details:
        problem.invalid_field = details["BadRequest"].field_violations[0].field
    if "ResourceInfo" in details:
        resource = details["ResourceInfo"]
        problem.resource = (resource.resource_type, resource.resource_name)
    return problem


def of_stream(error: error_pb2.Error) -> Problem:
    name = error_pb2.ErrorReason.Name(error.reason).removeprefix("ERROR_REASON_")
    retry_after_ms = error.retry_after_ms if error.HasField("retry_after_ms") else None
    metadata = dict(error.metadata)
    return Problem(error.code, name, error.message, metadata, error.hint, retry_after_ms)


def refusal(call: Callable[[], object]) -> Problem:
    """Makes a call that must be refused."""
    with pytest.raises(grpc.RpcError) as raised:
        call()
    return of_call(raised.value)


@cache
def catalogue() -> dict[str, tuple[int, set[str]]]:
    """Code and names of the metadata for each reason, from docs/errors.md."""
    page = Path(os.environ["INTEROP_ROOT"], "docs/errors.md").read_text()
    numbers = {code.name: code.value[0] for code in grpc.StatusCode}
    listed = {}
    for section in page.split("\n### ")[1:]:
        reason, _, text = section.partition("\n")
        code = re.search(r"^`(\w+)` · retry: ", text, re.MULTILINE)[1]
        metadata = re.search(r"^Metadata: (.*)$", text, re.MULTILINE)[1]
        listed[reason] = (numbers[code], set(re.findall(r"`(\w+)`", metadata)))
    return listed
