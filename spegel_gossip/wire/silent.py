"""Connections on which nothing is asked: whom to hang up on when a newcomer needs a place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import inf

import trio


class SilentConnections:
    """Those that wait for a handshake, a first request, or a next one, each the longest silent first.

    Members keep connections, and strangers who say nothing cost nobody anything but the place: if
    either could fill all places, the next member would find none, and no push-pull and no blob with it.
    """

    def __init__(self) -> None:
        self._strangers: dict[trio.CancelScope, None] = {}
        self._known: dict[trio.CancelScope, None] = {}

    @contextmanager
    def wait(self, timeout: float = inf, *, was_served: bool) -> Iterator[trio.CancelScope]:
        """Bound the wait inside; it is cancelled too if the connection's place is needed.

        Args:
            timeout: seconds
            was_served: whether it asked for something before
        """
        silent = self._known if was_served else self._strangers
        with trio.move_on_after(timeout) as scope:
            silent[scope] = None
            try:
                yield scope
            finally:
                silent.pop(scope, None)

    def displace(self) -> bool:
        """Hang up on the one that is silent for longest; return False if there is none.

        Those who never asked go first: whoever asked before was a member. Of them the
        one that came first, for the last to come may only not have had the time.
        """
        for silent in (self._strangers, self._known):
            for scope in silent:
                # At once out of the table: until it has ended another place may be needed.
                del silent[scope]
                scope.cancel()
                return True
        return False

    def displace_all(self) -> None:
        """Hang up on all."""
        while self.displace():
            pass
