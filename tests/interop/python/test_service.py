"""What a client learns about the broker itself."""

import re

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from towpath.v1.topic_service_pb2 import GetTopicRequest
from towpath.v1.topic_service_pb2_grpc import TopicServiceStub

from broker import Broker
from client import CALL_SECONDS_MAX, MESSAGE_BYTES_MAX, Client
from records import numbered


def test_a_broker_tells_who_it_is_and_what_it_accepts(client: Client):
    info = client.server_info()
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", info.version)
    assert re.fullmatch(r"[0-9a-f]{32}", info.broker_id)
    assert info.incarnation >= 1
    assert info.start_time_ms > 0
    assert info.durability
    assert info.limits.batch_bytes_max + 64 * 1024 == MESSAGE_BYTES_MAX
    limits = info.limits.DESCRIPTOR.fields
    assert all(getattr(info.limits, limit.name) > 0 for limit in limits)


def test_the_durable_lsn_covers_what_was_answered(client: Client, topic: str):
    published = client.publish(topic, *numbered(1))
    assert client.server_info().lsn >= published.lsn


def test_a_broker_that_serves_is_healthy(client: Client):
    health = health_pb2_grpc.HealthStub(client.channel)
    request = health_pb2.HealthCheckRequest()
    status = health.Check(request, timeout=CALL_SECONDS_MAX).status
    assert status == health_pb2.HealthCheckResponse.SERVING


def test_reflection_speaks_its_older_version_too(client: Client):
    services = ProtoReflectionDescriptorDatabase(client.channel).get_services()
    ours = {service for service in services if service.startswith("towpath.")}
    names = "Admin Commit DeadLetter Fetch Group Key Produce Schedule Subscription Topic"
    assert ours == {f"towpath.v1.{name}Service" for name in names.split()}


def test_a_call_of_a_later_version_is_unimplemented(client: Client):
    call = client.channel.unary_unary("/towpath.v1.TopicService/RenameTopic")
    with pytest.raises(grpc.RpcError) as raised:
        call(b"", timeout=CALL_SECONDS_MAX)
    assert raised.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_a_compressed_message_is_not_understood(broker: Broker, topic: str):
    with grpc.insecure_channel(broker.address, compression=grpc.Compression.Gzip) as channel:
        stub = TopicServiceStub(channel)
        with pytest.raises(grpc.RpcError) as raised:
            stub.GetTopic(GetTopicRequest(name=topic), timeout=CALL_SECONDS_MAX)
    assert raised.value.code() == grpc.StatusCode.UNIMPLEMENTED
