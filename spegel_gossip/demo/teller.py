"""How a step of the story is told: announced, bounded in time, its claims checked and kept."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

import trio

from spegel_gossip.demo.errors import ClaimError, DemoError, first_of
from spegel_gossip.demo.picture import Picture, Step, StepState

CHECK_INTERVAL = 0.1
"""Seconds between two checks of something that is awaited."""


class Listener(Protocol):
    """Hears the story as it is told; never waits."""

    def announce(self, step: Step) -> None:
        """A step begins."""

    def confirm(self, step: Step, claim: str) -> None:
        """Something was checked, and is as it should be."""

    def close(self, step: Step) -> None:
        """A step ended, well or not."""


class Teller:
    """Tells steps one after the other; a claim that does not hold ends the story."""

    def __init__(self, picture: Picture, listener: Listener, logs: Path) -> None:
        """Take the picture whose steps these are, who listens, and where the logs are."""
        self._picture = picture
        self._listener = listener
        self._logs = logs
        self._step = Step("")

    @asynccontextmanager
    async def step(self, number: int, limit: float) -> AsyncIterator[None]:
        """Tell a step in at most `limit` seconds.

        Raises:
            ClaimError: a claim did not hold, a pull failed, or it took too long.
        """
        step = self._step = self._picture.steps[number]
        step.begun_at = trio.current_time()
        step.state = StepState.TOLD
        self._listener.announce(step)
        try:
            with trio.fail_after(limit):
                yield
        except trio.TooSlowError as exc:
            raise self._failure(f"an end within {limit:.0f} s", "it still goes on") from exc
        except ClaimError:
            raise
        except DemoError as exc:
            raise self._failure("no failure", str(exc)) from exc
        except BaseExceptionGroup as group:
            # Several pulls at once: one of those that failed is enough to look at.
            failed, bugs = group.split(DemoError)
            if failed is None or bugs is not None:
                raise
            raise self._failure("no failure", str(first_of(failed))) from group
        else:
            step.state = StepState.HELD
        finally:
            if step.state is StepState.TOLD:
                step.state = StepState.FAILED
            step.seconds = trio.current_time() - step.begun_at
            self._listener.close(step)

    def claim(self, words: str, *, expected: object, seen: object) -> None:
        """Check that something is as it should be, and keep the words if it is.

        Raises:
            ClaimError: it is not.
        """
        if seen != expected:
            raise self._failure(f"{words}: {expected}", str(seen))
        self._keep(words)

    async def claim_soon(
        self,
        words: Callable[[float], str],
        look: Callable[[], Awaitable[object]],
        *,
        expected: object,
        within: float,
    ) -> None:
        """Check the same of something that takes a while to become so.

        Args:
            words: gets the seconds that it took
            look: asked again and again
            expected: what it must return
            within: seconds

        Raises:
            ClaimError: it did not become so in time.
        """
        begun_at = trio.current_time()
        seen: object = "nothing yet"
        while True:
            with trio.move_on_at(begun_at + within):
                seen = await look()
            seconds = trio.current_time() - begun_at
            if seen == expected:
                self._keep(words(seconds))
                return
            if seconds >= within:
                raise self._failure(f"{words(seconds)}: {expected}", f"{seen}, after {within:.0f} s")
            await trio.sleep(CHECK_INTERVAL)

    def _keep(self, words: str) -> None:
        self._step.claims.append(words)
        self._listener.confirm(self._step, words)

    def _failure(self, expected: str, seen: str) -> ClaimError:
        return ClaimError(self._step.title, expected, seen, self._logs)
