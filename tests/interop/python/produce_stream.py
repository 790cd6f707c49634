"""A stream of batches, and of what is answered to them."""

import queue

from towpath.v1.produce_service_pb2 import OpenTopic, ProduceBatch, ProduceRequest
from towpath.v1.record_pb2 import Codec, RecordBatch

from records import Record


class ProduceStream:
    """Sends and receives one at a time; whoever waits for an answer waits as long as the call may
    last."""

    def __init__(self, call):
        """`call` makes the call from an iterator of requests."""
        self.requests = queue.SimpleQueue()
        self.call = call(iter(self.requests.get, None))
        self.waiting = []

    def __enter__(self) -> "ProduceStream":
        return self

    def __exit__(self, *exception):
        self.requests.put(None)
        self.call.cancel()

    def send_open(self, topic: str, producer_id: bytes, **fields):
        step = OpenTopic(topic=topic, producer_id=producer_id, **fields)
        self.requests.put(ProduceRequest(open=step))

    def send(self, sequence: int, *records: Record, **fields):
        batch = RecordBatch(records=records)
        step = ProduceBatch(sequence=sequence, batch=batch, **fields)
        self.requests.put(ProduceRequest(produce=step))

    def open(self, topic: str, producer_id: bytes, **fields):
        """Opens a topic, under handle 0 unless told otherwise, and returns the answer."""
        self.send_open(topic, producer_id, **fields)
        return self.next()

    def write(self, sequence: int, *records: Record, **fields):
        """Sends a batch, to partition 0 unless told otherwise, and returns the answer."""
        self.send(sequence, *records, **fields)
        return self.next()

    def write_compressed(self, sequence: int, codec: Codec, compressed: bytes):
        """Sends a compressed batch to partition 0, and returns the answer."""
        step = ProduceBatch(sequence=sequence, codec=codec, compressed_batch=compressed)
        self.requests.put(ProduceRequest(produce=step))
        return self.next()

    def next(self):
        """The next answer: to one batch, or any other."""
        while not self.waiting:
            answer = next(self.call)
            kind = answer.WhichOneof("response")
            message = getattr(answer, kind)
            self.waiting.extend(message.batches if kind == "accepted" else [message])
        return self.waiting.pop(0)

    def next_few(self, count: int) -> list:
        return [self.next() for _ in range(count)]

    def close(self) -> list:
        """Closes the sending side and returns what is still answered until the stream ends."""
        self.requests.put(None)
        rest = []
        while True:
            try:
                rest.append(self.next())
            except StopIteration:
                return rest
