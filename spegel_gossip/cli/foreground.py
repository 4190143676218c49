"""Runs one async job of a command, which Ctrl-C and SIGTERM end in order."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable
from typing import TypeVar

import click
import trio

from spegel_gossip.cli.run import foreseen_failure

_Result = TypeVar("_Result")

_SIGNALLED = 128
"""A shell's exit code for a program that a signal ended is this and the signal's number."""


def run_to_end(work: Callable[[], Awaitable[_Result]], *, last_words: Callable[[], str]) -> _Result:
    """Return what `work` returns; a signal cancels it first, so that it leaves all in order.

    Args:
        work: the job
        last_words: what to tell a person who interrupted it, asked for when it has ended

    Raises:
        SpegelGossipError: the job failed.
        click.exceptions.Exit: it was interrupted; the words are said.
    """
    received: list[int] = []
    results: list[_Result] = []

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:

                async def wait_for_signal() -> None:
                    async for number in signals:
                        received.append(number)
                        nursery.cancel_scope.cancel()

                nursery.start_soon(wait_for_signal)
                results.append(await work())
                nursery.cancel_scope.cancel()

    try:
        trio.run(main)
    except BaseExceptionGroup as group:
        failure = foreseen_failure(group)
        if failure is None:
            raise
        raise failure from group
    if results:
        return results[0]
    click.echo(last_words(), err=True)
    raise click.exceptions.Exit(_SIGNALLED + received[0])
