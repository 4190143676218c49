"""How a pull or a push fails, told apart by what this client does next."""

from __future__ import annotations

from collections.abc import Sequence

from spegel_gossip.errors import SpegelGossipError
from spegel_gossip.oci.digest import Digest


class ClientError(SpegelGossipError):
    """A registry did not do what was asked; the message says what the reader should do."""


class TransientError(ClientError):
    """It may go well in a moment: try the same again, within bounds."""

    def __init__(
        self, message: str, *, retry_after: float | None = None, is_unreachable: bool = False
    ) -> None:
        """Keep what bears on the next attempt.

        Args:
            message: what happened and, for whoever reads it when patience has ended, what to do
            retry_after: seconds that the registry asked us to wait
            is_unreachable: no connection came about, so nothing at all was asked
        """
        self.retry_after = retry_after
        self.is_unreachable = is_unreachable
        super().__init__(message)


class NotThereError(ClientError):
    """The registry answered that it has no such thing."""


class DeniedError(ClientError):
    """The registry wants other credentials than it got."""


class RegistryProtocolError(ClientError):
    """The registry answered what the distribution specification does not allow."""


class WrongBytesError(ClientError):
    """A source sent bytes that do not have the digest they were asked by."""

    def __init__(self, digest: Digest, source: str) -> None:
        """Keep what was asked of whom."""
        self.digest = digest
        self.source = source
        super().__init__(
            f"{source} sent wrong bytes for {digest} twice: nothing of them was kept; "
            "try another mirror or tell whoever runs that registry"
        )


class NoSuchPlatformError(ClientError):
    """The image is not made for the platform that was asked for."""

    def __init__(self, image: str, wanted: str, offered: Sequence[str]) -> None:
        """Keep what there is instead."""
        self.offered = tuple(offered)
        listed = ", ".join(self.offered) or "none"
        super().__init__(
            f"{image} is not made for {wanted}: give --platform one of {listed}, or take --all-platforms"
        )


class IncompleteImageError(ClientError):
    """The layout does not hold all that is to be pushed."""


class CredentialsError(ClientError):
    """Credentials are configured, and could not be read."""
