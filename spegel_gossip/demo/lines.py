"""The story as plain lines, for whatever is not a terminal."""

from __future__ import annotations

from collections.abc import Callable

import trio

from spegel_gossip.demo.picture import Picture, Step, StepState


class Lines:
    """Writes a line for each thing that happens; a `teller.Listener`."""

    def __init__(self, picture: Picture, write: Callable[[str], None]) -> None:
        """Take the picture, for the clock, and what writes one line."""
        self._picture = picture
        self._write = write

    def announce(self, step: Step) -> None:
        """A step begins."""
        number = list(self._picture.steps).index(step) + 1
        self._tell(f"{number}/{len(self._picture.steps)} {step.title}")

    def confirm(self, step: Step, claim: str) -> None:  # noqa: ARG002 - the port's signature
        """Something was checked."""
        self._tell(f"    ok: {claim}")

    def close(self, step: Step) -> None:
        """A step ended."""
        if step.state is StepState.HELD:
            self._tell(f"    done in {step.seconds:.1f} s")

    def _tell(self, text: str) -> None:
        self._write(f"{self._picture.seconds(trio.current_time()):6.1f}  {text}")
