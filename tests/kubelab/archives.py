"""Images that run, made from a few files, as OCI archives; and any such archive as something to push."""

import io
import json
import random
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lab.images import CONFIG, LAYER, MANIFEST, Artifact, Blob


def program_image(program: Path, *, layers: Mapping[int, int] | None = None, note: str = "") -> Artifact:
    """An image whose entry point is a static program.

    Args:
        program: the file
        layers: size in bytes, by the seed of what is in it, of further layers
        note: makes another image of it
    """
    blobs = [Blob.of(LAYER, _tar(program.name, program.read_bytes()))]
    for seed, size in (layers or {}).items():
        blobs.append(Blob.of(LAYER, _tar(f"filler-{seed}", random.Random(seed).randbytes(size))))
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": [f"/{program.name}"], "Labels": {"note": note}},
        "rootfs": {"type": "layers", "diff_ids": [blob.digest for blob in blobs]},
    }
    config_blob = Blob.of(CONFIG, json.dumps(config).encode())
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config_blob.descriptor(),
        "layers": [blob.descriptor() for blob in blobs],
    }
    root = Blob.of(MANIFEST, json.dumps(manifest).encode())
    return Artifact((root,), (config_blob, *blobs))


def write_archive(artifact: Artifact, path: Path, name: str) -> None:
    """Write an artifact as an OCI archive that `ctr images import` takes, under this name."""
    named = artifact.root.descriptor(annotations={"io.containerd.image.name": name})
    with tarfile.open(path, "w") as archive:
        _add(archive, "oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
        _add(archive, "index.json", json.dumps({"schemaVersion": 2, "manifests": [named]}).encode())
        for blob in (*artifact.manifests, *artifact.blobs):
            _add(archive, "blobs/" + blob.digest.replace(":", "/"), b"".join(blob.chunks()))


def read_archive(path: Path) -> Artifact:
    """The image of one platform that is in an OCI archive."""
    with tarfile.open(path) as archive:

        def content(digest: str) -> bytes:
            return _content(archive, "blobs/" + digest.replace(":", "/"))

        def blob(described: Mapping[str, Any]) -> Blob:
            return Blob.of(described["mediaType"], content(described["digest"]))

        root = blob(json.loads(_content(archive, "index.json"))["manifests"][0])
        manifest = json.loads(root.head)
        return Artifact((root,), (blob(manifest["config"]), *(blob(one) for one in manifest["layers"])))


def _content(archive: tarfile.TarFile, name: str) -> bytes:
    stream = archive.extractfile(name)
    if stream is None:
        raise ValueError(f"{name} is not a file of the archive")
    return stream.read()


def _tar(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        _add(archive, name, content, 0o755)
    return buffer.getvalue()


def _add(archive: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    archive.addfile(entry, io.BytesIO(content))
