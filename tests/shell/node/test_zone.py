import pytest

from spegel_gossip.config import NodeConfig
from spegel_gossip.node.zone import with_zone


@pytest.mark.parametrize(
    "config",
    [
        NodeConfig(plaintext=True),
        NodeConfig(plaintext=True, zone="eu-1a", zone_from_node=True),
        # Not in a pod, so that nobody can be asked.
        NodeConfig(plaintext=True, zone_from_node=True),
    ],
    ids=["not asked for", "given", "no answer"],
)
async def test_a_node_that_learns_of_no_zone_goes_on_with_what_it_was_told(
    config: NodeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)

    assert await with_zone(config) == config
