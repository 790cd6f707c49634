"""Prints the records of a topic as JSON, one a line; with --follow it waits for more."""

import json
import signal
import sys

import grpc
from towpath.v1.fetch_service_pb2 import (
    GAP_REASON_COMPACTED,
    GAP_REASON_TRIMMED,
    FetchedBatch,
    FetchRequest,
    FetchSource,
    Gap,
    OpenedTopic,
    PartitionOffset,
)
from towpath.v1.fetch_service_pb2_grpc import FetchServiceStub
from towpath.v1.record_pb2 import Record

from connection import RETRIED, Backoff, connect, describe


class Reader:
    """Reads one topic from its beginning. All it remembers is the next offset of each partition and
    the id of the topic: from there it goes on after a broken connection, with no record lost or
    seen twice."""

    def __init__(self, stub: FetchServiceStub, topic: str):
        self.stub = stub
        self.topic = topic
        self.topic_id = None
        self.next_offsets: dict[int, int] = {}
        self.backoff = Backoff()

    def records(self, follow: bool):
        """Yields (partition, offset, record) up to the end, or for ever."""
        while True:
            try:
                return (yield from self.attempt(follow))
            except grpc.RpcError as error:
                # A broker that stops ends its streams with UNAVAILABLE, too.
                if error.code() not in RETRIED:
                    raise
                self.backoff.wait(describe(error))

    def attempt(self, follow: bool):
        starts = [PartitionOffset(partition=p, offset=o) for p, o in self.next_offsets.items()]
        source = FetchSource(topic=self.topic, topic_id=self.topic_id, start_offsets=starts)
        for answer in self.stub.Fetch(FetchRequest(sources=[source], follow=follow)):
            self.backoff.reset()
            kind = answer.WhichOneof("response")
            if kind == "opened":
                self.note_opened(answer.opened.topics[0])
            elif kind == "batch":
                yield from self.take(answer.batch)
            elif kind == "gap":
                self.skip(answer.gap)
            elif kind == "failed":
                sys.exit(f"error: {answer.failed.error.message}")

    def note_opened(self, topic: OpenedTopic):
        self.topic_id = topic.topic_id
        for partition in topic.partitions:
            self.next_offsets[partition.partition] = partition.start_offset

    def skip(self, gap: Gap):
        start, end = gap.range.start, gap.range.end
        if gap.reason not in (GAP_REASON_TRIMMED, GAP_REASON_COMPACTED):
            sys.exit(f"error: records {start} to {end} of partition {gap.partition} are lost")
        self.next_offsets[gap.partition] = end

    def take(self, batch: FetchedBatch):
        offsets = batch.offset_deltas or range(batch.record_count)
        for delta, record in zip(offsets, batch.batch.records):
            offset = batch.base_offset + delta
            # A batch comes whole, though it may begin before what was asked for.
            if offset >= self.next_offsets[batch.partition]:
                self.next_offsets[batch.partition] = offset + 1
                yield batch.partition, offset, record


def text(record: Record, field: str) -> str | None:
    """An absent key or value is null, which an empty one is not."""
    is_present = record.HasField(field)
    return getattr(record, field).decode(errors="backslashreplace") if is_present else None


def main(topic: str, *options: str):
    follow = "--follow" in options
    reader = Reader(FetchServiceStub(connect()), topic)
    try:
        for partition, offset, record in reader.records(follow):
            line = {"partition": partition, "offset": offset}
            line |= {"key": text(record, "key"), "value": text(record, "value")}
            print(json.dumps(line), flush=True)
    except grpc.RpcError as error:
        sys.exit(f"error: {describe(error)}")


if __name__ == "__main__":
    # Ctrl-C and a closed pipe end it without a word.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    main(*sys.argv[1:])
