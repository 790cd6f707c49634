"""A stream of records, and of what is told beside them."""

import itertools
from collections.abc import Iterator

from towpath.v1.fetch_service_pb2 import CaughtUp, FetchedBatch

from records import Address, Record


class FetchStream:
    """Reads as much as it is asked to. The first message is read at once."""

    def __init__(self, call):
        self.call = call
        answer = next(call)
        assert answer.WhichOneof("response") == "opened"
        self.opened = answer.opened
        self.topics = {topic.handle: topic.topic for topic in self.opened.topics}
        self.start_offsets = {
            (topic.topic, partition.partition): partition.start_offset
            for topic in self.opened.topics
            for partition in topic.partitions
        }

    def __enter__(self) -> "FetchStream":
        return self

    def __exit__(self, *exception):
        self.call.cancel()

    def messages(self) -> Iterator:
        """The messages as they come, up to the end of the stream."""
        for answer in self.call:
            yield getattr(answer, answer.WhichOneof("response"))

    def next(self, kind: type):
        """The next message of a kind."""
        return next(message for message in self.messages() if isinstance(message, kind))

    def caught_up(self) -> dict[tuple[str, int], CaughtUp]:
        """Reads on until every partition was read to its end."""
        found = {}
        while found.keys() != self.start_offsets.keys():
            message = self.next(CaughtUp)
            place = (self.topics[message.handle], message.partition)
            assert place not in found, "told once for each partition"
            found[place] = message
        return found

    def batches(self) -> Iterator[FetchedBatch]:
        return (message for message in self.messages() if isinstance(message, FetchedBatch))

    def records(self) -> Iterator[tuple[Address, Record]]:
        for batch in self.batches():
            yield from self.records_of(batch)

    def records_of(self, batch: FetchedBatch) -> Iterator[tuple[Address, Record]]:
        """The records of a batch, without those below the offset that was asked for."""
        assert len(batch.batch.records) == batch.record_count
        topic = self.topics[batch.handle]
        first = self.start_offsets[topic, batch.partition]
        deltas = batch.offset_deltas or itertools.count()
        for delta, record in zip(deltas, batch.batch.records):
            offset = batch.base_offset + delta
            if offset >= first:
                yield Address(topic, batch.partition, offset), record
