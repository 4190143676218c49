"""Somebody who keeps the event loop to himself."""

import time


def hold_the_loop(seconds: float) -> None:
    """Let nothing else have a turn for so long."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass
