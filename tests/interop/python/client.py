"""A client of the generated stubs, as thin as it can be."""

import grpc
from towpath.v1.admin_service_pb2 import GetServerInfoRequest, GetServerInfoResponse
from towpath.v1.admin_service_pb2_grpc import AdminServiceStub
from towpath.v1.fetch_service_pb2 import (
    FetchRequest,
    FetchSource,
    LookupOffsetsRequest,
    LookupOffsetsResponse,
)
from towpath.v1.fetch_service_pb2_grpc import FetchServiceStub
from towpath.v1.produce_service_pb2 import (
    OpenProducerRequest,
    OpenProducerResponse,
    PublishRequest,
    PublishResponse,
)
from towpath.v1.produce_service_pb2_grpc import ProduceServiceStub
from towpath.v1.topic_service_pb2 import (
    CreateTopicRequest,
    DeleteTopicRequest,
    GetTopicRequest,
    ListTopicsRequest,
    ListTopicsResponse,
    Topic,
    TrimTopicRequest,
    TrimTopicResponse,
    UpdateTopicRequest,
)
from towpath.v1.topic_service_pb2_grpc import TopicServiceStub

from fetch_stream import FetchStream
from produce_stream import ProduceStream
from records import Address, Record

CALL_SECONDS_MAX = 20
# As docs/protocol.md asks for: the largest batch and 64 KiB more.
MESSAGE_BYTES_MAX = 4 * 1024 * 1024 + 64 * 1024


class Client:
    """One connection to a broker; every call on it ends in bounded time."""

    def __init__(self, address: str, receive_bytes_max: int | None = MESSAGE_BYTES_MAX):
        # Channels to one address would share a connection without a pool of their own.
        options = [("grpc.use_local_subchannel_pool", 1)]
        if receive_bytes_max is not None:
            options.append(("grpc.max_receive_message_length", receive_bytes_max))
        self.channel = grpc.insecure_channel(address, options=options)
        self.topics = TopicServiceStub(self.channel)
        self.producing = ProduceServiceStub(self.channel)
        self.fetching = FetchServiceStub(self.channel)
        self.admin = AdminServiceStub(self.channel)

    def close(self):
        self.channel.close()

    def server_info(self) -> GetServerInfoResponse:
        return self.admin.GetServerInfo(GetServerInfoRequest(), timeout=CALL_SECONDS_MAX)

    def create_topic(self, name: str, partition_count: int = 0, **fields) -> Topic:
        request = CreateTopicRequest(name=name, partition_count=partition_count, **fields)
        return self.topics.CreateTopic(request, timeout=CALL_SECONDS_MAX).topic

    def get_topic(self, name: str) -> Topic:
        return self.topics.GetTopic(GetTopicRequest(name=name), timeout=CALL_SECONDS_MAX).topic

    def list_topics(self, **fields) -> ListTopicsResponse:
        return self.topics.ListTopics(ListTopicsRequest(**fields), timeout=CALL_SECONDS_MAX)

    def update_topic(self, name: str, **fields) -> Topic:
        request = UpdateTopicRequest(name=name, **fields)
        return self.topics.UpdateTopic(request, timeout=CALL_SECONDS_MAX).topic

    def trim_topic(self, name: str, **fields) -> TrimTopicResponse:
        request = TrimTopicRequest(name=name, **fields)
        return self.topics.TrimTopic(request, timeout=CALL_SECONDS_MAX)

    def delete_topic(self, name: str, **fields) -> Topic:
        request = DeleteTopicRequest(name=name, **fields)
        return self.topics.DeleteTopic(request, timeout=CALL_SECONDS_MAX).topic

    def publish(
        self, topic: str, *records: Record, partition: int | None = None
    ) -> PublishResponse:
        request = PublishRequest(topic=topic, records=records, partition=partition)
        return self.producing.Publish(request, timeout=CALL_SECONDS_MAX)

    def open_producer(self, name: str) -> OpenProducerResponse:
        request = OpenProducerRequest(name=name)
        return self.producing.OpenProducer(request, timeout=CALL_SECONDS_MAX)

    def produce(self) -> ProduceStream:
        return ProduceStream(lambda it: self.producing.Produce(it, timeout=CALL_SECONDS_MAX))

    def look_up(self, topic: str, **fields) -> LookupOffsetsResponse:
        request = LookupOffsetsRequest(topic=topic, **fields)
        return self.fetching.LookupOffsets(request, timeout=CALL_SECONDS_MAX)

    def fetch(self, *sources: str | FetchSource, **fields) -> FetchStream:
        """Opens a stream that reads sources, or topics from their beginning."""
        sources = [FetchSource(topic=it) if isinstance(it, str) else it for it in sources]
        request = FetchRequest(sources=sources, **fields)
        return FetchStream(self.fetching.Fetch(request, timeout=CALL_SECONDS_MAX))

    def read(self, *sources: str | FetchSource, **fields) -> dict[Address, Record]:
        """Reads records to the end, in the order in which they come."""
        read = list(self.fetch(*sources, **fields).records())
        found = dict(read)
        assert len(found) == len(read), "no record comes twice"
        return found
