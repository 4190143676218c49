"""What the follower of containerd has yet to look into, and when."""

from __future__ import annotations

import math

import trio

from spegel_gossip.oci.digest import Digest

MAX_PENDING = 4_096
"""Digests and names waiting to be looked into; more are one full comparison instead."""

DEBOUNCE_INTERVAL = 0.01
"""Seconds that news waits for its like, so that twenty layers are one trip to containerd."""

RETRIES = 8
"""Looks at a blob that is on disk and not yet listed, each twice as late as the one before: 5 s in all.
containerd renames the file first and then waits for its database's fsync, slow on a busy disk. What
is not listed by then belongs to another namespace."""


class Agenda:
    """Things to do, each with the time it is due. Filled from anywhere on the loop, emptied by one task."""

    def __init__(self) -> None:
        self._digests: dict[Digest, tuple[float, int]] = {}
        self._images: dict[str, float] = {}
        self._reconcile_at = math.inf
        self._woken = trio.Event()

    def check(self, digest: Digest, *, attempt: int = 0) -> bool:
        """Ask containerd about a blob soon; return False if it was asked often enough."""
        if attempt > RETRIES:
            return False
        if len(self._digests) >= MAX_PENDING:
            self.reconcile()
        elif digest not in self._digests or attempt:
            self._digests[digest] = (trio.current_time() + DEBOUNCE_INTERVAL * 2**attempt, attempt)
        self._woken.set()
        return True

    def examine(self, name: str) -> None:
        """Look into an image soon."""
        if len(self._images) >= MAX_PENDING:
            self.reconcile()
        else:
            self._images.setdefault(name, trio.current_time() + DEBOUNCE_INTERVAL)
        self._woken.set()

    def reconcile(self, *, after: float = 1.0) -> None:
        """Compare everything, `after` seconds from now at the latest."""
        self._reconcile_at = min(self._reconcile_at, trio.current_time() + after)
        self._woken.set()

    def is_reconcile_due(self) -> bool:
        """Return whether everything should be compared now."""
        return self._reconcile_at <= trio.current_time()

    def clear(self) -> dict[Digest, int]:
        """Forget everything, before a comparison of all; return the digests, each with its attempt."""
        forgotten = {digest: attempt for digest, (_, attempt) in self._digests.items()}
        self._digests.clear()
        self._images.clear()
        self._reconcile_at = math.inf
        return forgotten

    def due_digests(self) -> dict[Digest, int]:
        """Take the blobs that are due, each with the number of this attempt."""
        now = trio.current_time()
        due = {digest: attempt for digest, (at, attempt) in self._digests.items() if at <= now}
        for digest in due:
            del self._digests[digest]
        return due

    def due_images(self) -> list[str]:
        """Take the names of the images that are due."""
        now = trio.current_time()
        due = [name for name, at in self._images.items() if at <= now]
        for name in due:
            del self._images[name]
        return due

    async def wait(self, until: float) -> None:
        """Return when something is due, or at `until`."""
        while True:
            digests = (at for at, _ in self._digests.values())
            next_at = min(until, self._reconcile_at, *digests, *self._images.values())
            if next_at <= trio.current_time():
                return
            self._woken = trio.Event()
            with trio.move_on_at(next_at):
                await self._woken.wait()
