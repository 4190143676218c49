from spegel_gossip.swim.names import name_hash


def test_a_name_hash_is_a_fixed_64_bit_number() -> None:
    # On the wire: a change here splits a cluster in two.
    assert name_hash("worker-1") == 6346927884324328635
    assert 0 < name_hash("") < 1 << 64
