"""Which partition a key belongs to, the same as for every other client of Towpath.

`python partitioner.py` checks the rule against its test vectors.
"""

SEED = 0x9747B28C
FACTOR = 0x5BD1E995
WORD = 0xFFFFFFFF

# The vectors of Kafka's UtilsTest.testMurmur2, and the empty key.
VECTORS = {
    b"21": -973_932_308,
    b"foobar": -790_332_482,
    b"a-little-bit-long-string": -985_981_536,
    b"a-little-bit-longer-string": -1_486_304_829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58_897_971,
    b"abc": 479_470_107,
    b"": 275_646_681,
}


def partition_of(key: bytes, partition_count: int) -> int:
    return (murmur2(key) & 0x7FFFFFFF) % partition_count


def murmur2(key: bytes) -> int:
    """The 32-bit MurmurHash2 with Kafka's seed, unsigned."""
    mixed = SEED ^ len(key)
    tail_position = len(key) & ~3
    for position in range(0, tail_position, 4):
        word = int.from_bytes(key[position : position + 4], "little") * FACTOR & WORD
        word = (word ^ (word >> 24)) * FACTOR & WORD
        mixed = (mixed * FACTOR & WORD) ^ word
    if tail := key[tail_position:]:
        mixed = (mixed ^ int.from_bytes(tail, "little")) * FACTOR & WORD
    mixed = (mixed ^ (mixed >> 13)) * FACTOR & WORD
    return mixed ^ (mixed >> 15)


if __name__ == "__main__":
    for key, signed in VECTORS.items():
        assert murmur2(key) == signed & WORD, key
    print(f"{len(VECTORS)} vectors agree")
