"""Compressed batches: what the SDK has compressed is read with and without a library for it, and what
libraries of other languages make is taken."""

import os
import subprocess
import zlib
from collections.abc import Callable

import lz4.frame
import pytest
import zstandard
from towpath.v1.record_pb2 import CODEC_LZ4, CODEC_UNSPECIFIED, CODEC_ZSTD, Codec, RecordBatch

from broker import PROGRAM, Broker
from client import Client
from records import record

VALUES = [b"order %d: paid, paid, paid and paid again" % number for number in range(100)]
RECORDS = [record(None, value) for value in VALUES]


def decompress_zstd(data: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompress(data)


CODECS = [
    pytest.param(CODEC_LZ4, "lz4", lz4.frame.decompress, id="lz4"),
    pytest.param(CODEC_ZSTD, "zstd", decompress_zstd, id="zstd"),
    pytest.param(CODEC_ZSTD, "zstd:19", decompress_zstd, id="zstd level 19"),
]

COMPRESSORS = [
    pytest.param(CODEC_LZ4, lz4.frame.compress, id="lz4"),
    pytest.param(CODEC_LZ4, lambda it: lz4.frame.compress(it, store_size=False), id="lz4 no size"),
    pytest.param(
        CODEC_LZ4,
        lambda it: lz4.frame.compress(
            it, block_linked=True, content_checksum=True, block_checksum=True
        ),
        id="lz4 checksums",
    ),
    pytest.param(CODEC_ZSTD, zstandard.ZstdCompressor().compress, id="zstd"),
    pytest.param(
        CODEC_ZSTD,
        zstandard.ZstdCompressor(write_content_size=False, write_checksum=True).compress,
        id="zstd no size",
    ),
]


def towpath(broker: Broker, *arguments: str, input: bytes = b"") -> bytes:
    environment = {**os.environ, "TOWPATH_URL": f"http://{broker.address}"}
    done = subprocess.run(
        [PROGRAM, *arguments],
        input=input,
        env=environment,
        stdout=subprocess.PIPE,
        check=True,
        timeout=60,
    )
    return done.stdout


@pytest.mark.parametrize("codec, flag, decompress", CODECS)
def test_what_the_sdk_compressed_is_read(
    client: Client, broker: Broker, topic: str, codec: Codec, flag: str, decompress: Callable
):
    towpath(broker, "produce", topic, "--compression", flag, input=b"\n".join(VALUES) + b"\n")
    # Who names no codec gets records that the stub has decoded.
    assert [it.value for it in client.read(topic).values()] == VALUES
    # Who names it decompresses by itself.
    batches = list(client.fetch(topic, accepted_codecs=[codec]).batches())
    compressed = [it for it in batches if it.codec == codec]
    assert compressed, "some batch got smaller"
    values = []
    for batch in batches:
        records = batch.batch
        if batch.codec != CODEC_UNSPECIFIED:
            assert zlib.crc32(batch.compressed_batch) == batch.crc
            records = RecordBatch.FromString(decompress(batch.compressed_batch))
        assert len(records.records) == batch.record_count
        values += [it.value for it in records.records]
    assert values == VALUES


@pytest.mark.parametrize("codec, compress", COMPRESSORS)
def test_what_other_libraries_compress_is_taken(
    client: Client,
    broker: Broker,
    topic: str,
    producer_id: bytes,
    codec: Codec,
    compress: Callable,
):
    compressed = compress(RecordBatch(records=RECORDS).SerializeToString())
    with client.produce() as stream:
        stream.open(topic, producer_id)
        accepted = stream.write_compressed(0, codec, compressed)
    assert accepted.record_count == len(RECORDS)
    (stored,) = client.fetch(topic, accepted_codecs=[codec]).batches()
    assert stored.compressed_batch == compressed, "as it came"
    assert list(client.read(topic).values()) == RECORDS
    assert towpath(broker, "consume", topic, "-e").splitlines() == VALUES


@pytest.mark.parametrize("codec, compress", COMPRESSORS[:1] + COMPRESSORS[3:4])
def test_what_is_no_frame_is_refused(
    client: Client, topic: str, producer_id: bytes, codec: Codec, compress: Callable
):
    compressed = compress(RecordBatch(records=RECORDS).SerializeToString())
    with client.produce() as stream:
        stream.open(topic, producer_id)
        for sequence, wrong in enumerate([compressed[:-1], compressed * 2, b"nothing"]):
            refused = stream.write_compressed(sequence, codec, wrong)
            assert refused.is_sequence_spent
            assert refused.error.metadata["field"] == "compressed_batch"
            assert refused.error.hint
