import pytest

from spegel_gossip.errors import ConfigError
from spegel_gossip.splice.config import PumpConfig
from spegel_gossip.splice.serving import ServerConfig


@pytest.mark.parametrize(
    "wrong",
    [
        {"progress_timeout": 0},
        {"min_turn": 0},
        {"min_turn": 2 << 20},
        {"turn_budget": 1},
        {"disk_threads": 0},
    ],
)
def test_a_pump_that_cannot_work_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong)).split("_")[-1]):
        PumpConfig(**wrong)


@pytest.mark.parametrize(
    "wrong",
    [{"max_connections": 0}, {"keep_alive_timeout": 0}, {"max_requests": 0}, {"drain_timeout": -1}],
)
def test_a_server_that_cannot_work_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        ServerConfig(**wrong)
