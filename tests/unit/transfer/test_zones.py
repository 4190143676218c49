from prometheus_client import REGISTRY

from spegel_gossip.transfer.zones import MAX_ZONES, OTHER, ZoneCounter


def counted(source: str, zone: str) -> float:
    labels = {"source_zone": source, "zone": zone}
    return REGISTRY.get_sample_value("spegel_gossip_transfer_zone_bytes_total", labels) or 0.0


def test_bytes_are_counted_by_pair_of_zones() -> None:
    counter = ZoneCounter("here")

    counter.received(10, zone="there")
    counter.received(5, zone="there")
    counter.received(1, zone="")

    assert (counted("there", "here"), counted("", "here")) == (15, 1)


def test_members_cannot_make_ever_more_series() -> None:
    counter = ZoneCounter("flooded")
    for number in range(MAX_ZONES + 10):
        counter.received(1, zone=f"zone-{number}")
    counter.received(1, zone="zone-0")

    assert counted(OTHER, "flooded") == 10
    assert counted("zone-0", "flooded") == 2
