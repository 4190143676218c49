"""What the operator decides about the mirror."""

from __future__ import annotations

from dataclasses import dataclass, field

from spegel_gossip.errors import ConfigError
from spegel_gossip.oci.errors import InvalidReferenceError
from spegel_gossip.oci.reference import DOCKER_HUB, normalize_registry
from spegel_gossip.oci.tag_policy import TagPolicies


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryConfig:
    """How requests are read and which tags are answered."""

    default_registry: str = DOCKER_HUB
    """The registry meant by a request without `ns`: containerd always sends it, people often do not."""

    tag_policies: TagPolicies = field(default_factory=TagPolicies)
    """Which tags the cluster may answer for."""

    repository_scope: bool = False
    """Whether a digest is served only under a repository an image of which, here, reaches it."""

    def __post_init__(self) -> None:
        """Refuse what no request could ever name.

        Raises:
            ConfigError: if the default registry is not one, by its normal name.
        """
        try:
            normal = normalize_registry(self.default_registry)
        except InvalidReferenceError as exc:
            raise ConfigError(
                f"--default-registry {self.default_registry!r} is not a registry ({exc.reason}): "
                "give a host, such as docker.io"
            ) from exc
        object.__setattr__(self, "default_registry", normal)
