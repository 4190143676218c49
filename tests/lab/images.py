"""Images and artifacts made from a seed: the same seed and sizes give the same digests, everywhere.

Layers are real tar archives that containerd unpacks. One that must be large is a small archive followed
by numbered filler: a tar reader stops at the end-of-archive mark, so unpacking a gigabyte costs hashing and
no disk, and a transfer that puts bytes at the wrong offset changes the digest.
"""

import gzip
import hashlib
import io
import json
import random
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

MIB = 1024 * 1024
GIB = 1024 * MIB

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
HELM_CONFIG = "application/vnd.cncf.helm.config.v1+json"
HELM_CHART = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
COSIGN_PAYLOAD = "application/vnd.dev.cosign.simplesigning.v1+json"
EMPTY_CONFIG = "application/vnd.oci.empty.v1+json"

_PAYLOAD = 2_000
_FILLER_STEP = MIB


@dataclass(frozen=True)
class Blob:
    """Bytes with a media type: `head`, then filler up to `size`."""

    media_type: str
    head: bytes
    size: int

    @staticmethod
    def of(media_type: str, content: bytes) -> "Blob":
        """A blob that is just these bytes."""
        return Blob(media_type, content, len(content))

    def chunks(self) -> Iterator[bytes]:
        """Its bytes, in pieces of at most a MiB; each piece of the filler begins with its number."""
        if self.head:
            yield self.head
        filler = self.size - len(self.head)
        for number in range((filler + _FILLER_STEP - 1) // _FILLER_STEP):
            length = min(_FILLER_STEP, filler - number * _FILLER_STEP)
            yield number.to_bytes(8, "big").ljust(length, b"\0")[:length]

    @cached_property
    def digest(self) -> str:
        """`sha256:` and the hash of all its bytes."""
        whole = hashlib.sha256()
        for chunk in self.chunks():
            whole.update(chunk)
        return f"sha256:{whole.hexdigest()}"

    def descriptor(self, **more: object) -> dict[str, object]:
        """Its OCI descriptor, with any further keys."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size, **more}


@dataclass(frozen=True)
class Artifact:
    """What one reference names: manifests, the one it points at last, and the blobs they name."""

    manifests: tuple[Blob, ...]
    blobs: tuple[Blob, ...]

    @property
    def root(self) -> Blob:
        """The manifest or index that the reference resolves to."""
        return self.manifests[-1]

    @property
    def digests(self) -> frozenset[str]:
        """The digests of all of it."""
        return frozenset(blob.digest for blob in (*self.manifests, *self.blobs))


def layer(rng: random.Random, size: int = 0, *, compressed: bool = False) -> tuple[Blob, str]:
    """A layer of exactly `size` bytes (or as small as it comes), and its diff id.

    A compressed layer takes its size as it comes: `size` is then the length of the file inside it.
    """
    payload = rng.randbytes(size if compressed else _PAYLOAD)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        entry = tarfile.TarInfo(f"data/{rng.getrandbits(64):016x}")
        entry.size = len(payload)
        archive.addfile(entry, io.BytesIO(payload))
    head = buffer.getvalue()
    if compressed:
        diff_id = f"sha256:{hashlib.sha256(head).hexdigest()}"
        return Blob.of(LAYER_GZIP, gzip.compress(head, compresslevel=1, mtime=0)), diff_id
    if 0 < size < len(head):
        raise ValueError(f"the smallest layer is {len(head)} bytes, {size} cannot be made")
    blob = Blob(LAYER, head, max(size, len(head)))
    return blob, blob.digest


def image(
    seed: int, layer_sizes: Sequence[int] = (0,), *, architecture: str = "amd64", compressed: bool = False
) -> Artifact:
    """An image for one platform, with layers of these sizes (0: as small as it comes)."""
    rng = random.Random(f"{seed} {architecture}")
    layers = [layer(rng, size, compressed=compressed) for size in layer_sizes]
    return _image(layers, str(seed), architecture)


def derived_images(
    seed: int, *, shared_layers: Sequence[int], own_layers: Sequence[int]
) -> tuple[Artifact, Artifact]:
    """An image, and one built on top of it: the same layers, then its own."""
    rng = random.Random(f"{seed} derived")
    shared = [layer(rng, size) for size in shared_layers]
    own = [layer(rng, size) for size in own_layers]
    return _image(shared, f"{seed} base", "amd64"), _image([*shared, *own], f"{seed} derived", "amd64")


def _image(layers: Sequence[tuple[Blob, str]], label: str, architecture: str) -> Artifact:
    config = {
        "architecture": architecture,
        "os": "linux",
        "config": {"Labels": {"seed": label}},
        "rootfs": {"type": "layers", "diff_ids": [diff_id for _, diff_id in layers]},
    }
    config_blob = _json_blob(CONFIG, config)
    blobs = [blob for blob, _ in layers]
    return Artifact((_manifest(config_blob, blobs),), (config_blob, *blobs))


def index(seed: int, architectures: Sequence[str] = ("amd64", "arm64"), *, layers: int = 2) -> Artifact:
    """A multi-platform image."""
    images = [image(seed, [0] * layers, architecture=name) for name in architectures]
    entries = [
        one.root.descriptor(platform={"os": "linux", "architecture": name})
        for name, one in zip(architectures, images, strict=True)
    ]
    root = _json_blob(INDEX, {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries})
    manifests = tuple(one.root for one in images)
    return Artifact((*manifests, root), tuple(blob for one in images for blob in one.blobs))


def cosign_signature(of: Artifact) -> tuple[str, Artifact]:
    """The tag under which cosign keeps an image's signature, and a signature of that shape."""
    payload = {"critical": {"image": {"docker-manifest-digest": of.root.digest}}, "optional": None}
    signed = _json_blob(COSIGN_PAYLOAD, payload)
    config = {
        "architecture": "",
        "os": "",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [signed.digest]},
    }
    config_blob = _json_blob(CONFIG, config)
    manifest = _manifest(config_blob, [signed], {"dev.cosignproject.cosign/signature": "bm90IHNpZ25lZA=="})
    return of.root.digest.replace(":", "-") + ".sig", Artifact((manifest,), (config_blob, signed))


def helm_chart(seed: int) -> Artifact:
    """A Helm chart as `helm push` stores it: the config is the chart's metadata, no image config."""
    name = f"chart-{seed}"
    config = _json_blob(HELM_CONFIG, {"name": name, "version": "0.1.0", "apiVersion": "v2"})
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        text = f"apiVersion: v2\nname: {name}\nversion: 0.1.0\n".encode()
        entry = tarfile.TarInfo(f"{name}/Chart.yaml")
        entry.size = len(text)
        archive.addfile(entry, io.BytesIO(text))
    chart = Blob.of(HELM_CHART, gzip.compress(buffer.getvalue(), mtime=0))
    return Artifact((_manifest(config, [chart]),), (config, chart))


def artifact(seed: int, size: int = 10_000) -> Artifact:
    """Any other artifact: an artifactType, the empty config, one file."""
    config = Blob.of(EMPTY_CONFIG, b"{}")
    content = Blob.of("application/vnd.example.data", random.Random(seed).randbytes(size))
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": "application/vnd.example.thing",
        "config": config.descriptor(),
        "layers": [content.descriptor()],
    }
    return Artifact((_json_blob(MANIFEST, document),), (config, content))


def _manifest(config: Blob, layers: Sequence[Blob], annotations: Mapping[str, str] | None = None) -> Blob:
    described = [one.descriptor(**({"annotations": annotations} if annotations else {})) for one in layers]
    document = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config.descriptor(), "layers": described}
    return _json_blob(MANIFEST, document)


def _json_blob(media_type: str, document: Mapping[str, object]) -> Blob:
    return Blob.of(media_type, json.dumps(document, indent=2).encode())
