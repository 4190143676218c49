import pytest
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.typing import AppWrapper

from spegel_gossip.splice.errors import ServerSeamError
from spegel_gossip.splice.seam import check_seam, seam_trouble


def test_the_pinned_versions_fit() -> None:
    check_seam()

    assert seam_trouble() == ""


def test_a_method_that_is_gone_is_named() -> None:
    class Renamed(TCPServer):
        protocol_send = None  # type: ignore[assignment]  # as if upstream had renamed it

    with pytest.raises(ServerSeamError, match=r"TCPServer\.protocol_send"):
        check_seam(server=Renamed)


def test_another_constructor_is_named() -> None:
    class Longer(TCPServer):
        def __init__(self, app: AppWrapper, *others: object) -> None:
            """Take something else than before."""

    with pytest.raises(ServerSeamError, match=r"TCPServer\(app, config"):
        check_seam(server=Longer)


def test_a_protocol_without_its_h11_connection_is_named() -> None:
    class Hidden(H11Protocol):
        def __init__(self, *arguments: object) -> None:
            """Keep nothing."""

    with pytest.raises(ServerSeamError, match=r"hypercorn 0.*H11Protocol.connection"):
        check_seam(protocol=Hidden)
