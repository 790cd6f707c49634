"""Writes lines of standard input to a topic and prints where each record is.

What stands before the first tab of a line is the key; a line without a tab has none.
"""

import os
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from io import BufferedReader

import grpc
from towpath.v1.produce_service_pb2 import OpenTopic, ProduceBatch, ProduceRequest
from towpath.v1.produce_service_pb2_grpc import ProduceServiceStub
from towpath.v1.record_pb2 import Record, RecordBatch
from towpath.v1.topic_service_pb2 import GetTopicRequest, Topic
from towpath.v1.topic_service_pb2_grpc import TopicServiceStub

from connection import RETRIED, RETRIED_NUMBERS, Backoff, connect, describe
from partitioner import partition_of

# Read at once: no more lines than a batch may have records, however short they are.
INPUT_BYTES = 64 * 1024


class Producer:
    """Writes to one topic. What a broken connection leaves unanswered is sent again with the same
    producer id and sequence, so that nothing is written twice and nothing is left out."""

    def __init__(self, stub: ProduceServiceStub, topic: Topic):
        self.stub = stub
        self.topic = topic
        self.producer_id = os.urandom(16)
        self.next_sequences = Counter()

    def write(self, records: list[Record]):
        """Writes one batch to each partition and prints the records once they are on disk."""
        unanswered, backoff = self.batches(records), Backoff()
        while unanswered:
            try:
                why = self.attempt(unanswered)
            except grpc.RpcError as error:
                if error.code() not in RETRIED:
                    raise
                why = describe(error)
            if unanswered:
                backoff.wait(why)

    def batches(self, records: list[Record]) -> dict[int, ProduceBatch]:
        count = self.topic.partition_count
        keyless = self.next_sequences.total() % count
        placed = defaultdict(list)
        for record in records:
            partition = partition_of(record.key, count) if record.HasField("key") else keyless
            placed[partition].append(record)
        batches = {}
        for partition, records in placed.items():
            sequence, batch = self.next_sequences[partition], RecordBatch(records=records)
            batches[partition] = ProduceBatch(partition=partition, sequence=sequence, batch=batch)
            self.next_sequences[partition] += 1
        return batches

    def attempt(self, unanswered: dict[int, ProduceBatch]) -> str:
        """Sends what is unanswered on a new stream and takes out what is accepted. Returns why the
        rest was refused."""
        opening = OpenTopic(
            handle=0,
            topic=self.topic.name,
            topic_id=self.topic.topic_id,
            producer_id=self.producer_id,
        )
        requests = [ProduceRequest(open=opening)]
        requests += [ProduceRequest(produce=batch) for batch in unanswered.values()]
        why = ""
        for answer in self.stub.Produce(iter(requests)):
            kind = answer.WhichOneof("response")
            if kind == "accepted":
                for batch in answer.accepted.batches:
                    self.show(unanswered.pop(batch.partition), batch.base_offset)
            elif kind in ("open_refused", "refused"):
                error = getattr(answer, kind).error
                why = f"{error.message} {error.hint}".rstrip()
                if error.code not in RETRIED_NUMBERS:
                    sys.exit(f"error: {why}")
        return why

    def show(self, batch: ProduceBatch, base_offset: int):
        for offset, record in enumerate(batch.batch.records, base_offset):
            key = record.key.decode(errors="backslashreplace")
            print(f"{self.topic.name}/{batch.partition}@{offset}\t{key}", flush=True)


def whole_lines(source: BufferedReader) -> Iterator[list[bytes]]:
    """Yields lines as they come in."""
    rest = b""
    while some := source.read1(INPUT_BYTES):
        *lines, rest = (rest + some).split(b"\n")
        if lines:
            yield lines
    if rest:
        yield [rest]


def record_of(line: bytes) -> Record:
    key, tab, value = line.partition(b"\t")
    return Record(key=key, value=value) if tab else Record(value=key)


def main(name: str):
    channel = connect()
    try:
        topic = TopicServiceStub(channel).GetTopic(GetTopicRequest(name=name)).topic
        producer = Producer(ProduceServiceStub(channel), topic)
        for lines in whole_lines(sys.stdin.buffer):
            producer.write([record_of(line) for line in lines])
    except grpc.RpcError as error:
        sys.exit(f"error: {describe(error)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
