import pytest
import trio
import trio.testing

from spegel_gossip.splice.throttle import BURST_SECONDS, Throttle
from spegel_gossip.transfer.config import TransferConfig

RATE = 1000.0


async def seconds_for(throttle: Throttle, *counts: int) -> float:
    began = trio.current_time()
    for count in counts:
        await throttle.take(count)
    return trio.current_time() - began


async def test_bytes_go_out_no_faster_than_the_rate(autojump_clock: trio.testing.MockClock) -> None:
    throttle = Throttle(RATE)
    await throttle.take(int(RATE * BURST_SECONDS))  # what was saved up

    assert await seconds_for(throttle, *[100] * 20) == pytest.approx(19 * 0.1, abs=0.11)


async def test_a_pause_saves_up_no_more_than_a_burst(autojump_clock: trio.testing.MockClock) -> None:
    throttle = Throttle(RATE)
    await trio.sleep(1000)

    assert await seconds_for(throttle, *[50] * 40) >= 2000 / RATE - BURST_SECONDS - 0.05 - 1e-9


async def test_all_who_send_under_it_share_the_rate_evenly(autojump_clock: trio.testing.MockClock) -> None:
    throttle = Throttle(RATE)
    ended: dict[str, float] = {}

    async def send(name: str) -> None:
        for _ in range(20):
            await throttle.take(50)
        ended[name] = trio.current_time()

    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        for name in "abcd":
            nursery.start_soon(send, name)

    assert max(ended.values()) - began == pytest.approx(4000 / RATE, abs=0.4)
    assert max(ended.values()) - min(ended.values()) <= 0.5


@pytest.mark.parametrize(("rate", "senders"), [(2 << 20, 32), (10 << 20, 160), (64 << 20, 256)])
@pytest.mark.parametrize("usual", [64 << 10, 1 << 20])
async def test_whoever_sends_under_it_is_not_silent_for_as_long_as_readers_bear(
    rate: int, senders: int, usual: int, autojump_clock: trio.testing.MockClock
) -> None:
    throttle = Throttle(rate)
    pauses: list[float] = []

    async def send() -> None:
        sent_at = trio.current_time()
        for _ in range(12):
            await throttle.take(min(usual, throttle.turn))
            pauses.append(trio.current_time() - sent_at)
            sent_at = trio.current_time()

    async with trio.open_nursery() as nursery:
        for _ in range(senders):
            nursery.start_soon(send)

    assert max(pauses) < TransferConfig().stall_timeout * 0.8


def test_no_rate_at_all_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="moves nothing"):
        Throttle(0)
