"""Records to write, and where they are."""

from typing import NamedTuple

from towpath.v1.record_pb2 import Header, Record, RecordBatch


class Address(NamedTuple):
    """Where a record is."""

    topic: str
    partition: int
    offset: int


def record(
    key: bytes | None = None,
    value: bytes | None = None,
    *headers: tuple[str, bytes],
    event_time_ms: int | None = None,
) -> Record:
    headers = [Header(name=name, value=value) for name, value in headers]
    return Record(key=key, value=value, headers=headers, event_time_ms=event_time_ms)


def numbered(*numbers: int) -> list[Record]:
    """Records that can be told apart."""
    return [record(value=b"%d" % number) for number in numbers]


def filling(batch_bytes: int) -> list[Record]:
    """Records whose batch has exactly this size when it is encoded: some megabytes."""
    one = record(value=bytes(900_000))
    records = [one] * (batch_bytes // 1_000_000)
    # Of the last record, two tags and two lengths of three bytes.
    rest_bytes = batch_bytes - RecordBatch(records=records).ByteSize() - 8
    records.append(record(value=bytes(rest_bytes)))
    assert RecordBatch(records=records).ByteSize() == batch_bytes
    return records
