from __future__ import annotations

import trio
from structlog.testing import capture_logs

from spegel_gossip.wire.quiet import QUIET_INTERVAL, QuietLog


async def test_a_flood_is_one_line_a_minute_that_counts_the_rest(
    autojump_clock: trio.testing.MockClock,
) -> None:
    quiet = QuietLog("dropped")
    with capture_logs() as lines:
        for _ in range(100):
            quiet(reason="garbage")
        await trio.sleep(QUIET_INTERVAL)
        quiet(reason="garbage")

    assert [line["left_out"] for line in lines] == [0, 99]
    assert {line["log_level"] for line in lines} == {"debug"}
