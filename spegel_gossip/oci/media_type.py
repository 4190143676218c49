"""Media types of manifests, and what they say of a document's shape."""

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_ARTIFACT = "application/vnd.oci.artifact.manifest.v1+json"
"""The artifact manifest of the image-spec's release candidates; some registries still hold it."""

OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
OCTET_STREAM = "application/octet-stream"

INDEXES = frozenset({OCI_INDEX, DOCKER_LIST})
MANIFESTS = INDEXES | {OCI_MANIFEST, DOCKER_MANIFEST, OCI_ARTIFACT}
"""Everything that is asked for under `/manifests/`; the order of an Accept header is `ACCEPTED`."""

ACCEPTED = (OCI_MANIFEST, DOCKER_MANIFEST, OCI_INDEX, DOCKER_LIST, OCI_ARTIFACT)

IMAGE_CONFIGS = frozenset({OCI_CONFIG, DOCKER_CONFIG})
"""Configs that make a manifest an image; any other makes it an artifact."""
