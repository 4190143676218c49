import pytest

from spegel_gossip.errors import ConfigError
from spegel_gossip.node.listeners import listen
from spegel_gossip.swim.address import Address


async def test_a_taken_port_is_refused_with_the_flag_and_a_remedy() -> None:
    first = listen("--registry-listen", Address("127.0.0.1", 0))
    host, port = first.socket.getsockname()[:2]
    with pytest.raises(ConfigError, match=rf"^--status-listen: cannot listen on .*:{port} .*another port"):
        listen("--status-listen", Address(host, port))
    first.socket.close()


async def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(ConfigError, match="use an address of this node"):
        listen("--registry-listen", Address("198.51.100.1", 29500))
