import socket

from spegel_gossip.demo.places import find_places


def test_every_place_has_an_address_of_its_own_and_the_usual_ports() -> None:
    places = find_places(4)

    assert len({place.peers.host for place in places}) == 4
    assert {place.registry.port for place in places} == {29500}
    assert all(place.registry.host.startswith("127.29.") for place in places)


def test_a_network_that_somebody_uses_is_passed_over() -> None:
    taken = find_places(2)[1].peers
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((taken.host, taken.port))

        assert taken.host not in {place.peers.host for place in find_places(2)}
