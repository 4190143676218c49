"""Prints a CycloneDX document about an OCI archive, from the package metadata that is in its layers.

Debian's packages are known by the control files in var/lib/dpkg/status.d, Python's by the METADATA of their
dist-info. Both come from the archive that is shipped, so a package that was left out is not listed.
"""

from __future__ import annotations

import email
import json
import sys
import tarfile
import uuid
from email.message import Message
from typing import IO, Any
from urllib.parse import quote

PROGRAM = "spegel-gossip"
DEBIAN = "var/lib/dpkg/status.d/"

Component = dict[str, Any]


def main(path: str) -> int:
    """Print the SBOM of the archive at `path`."""
    with tarfile.open(path) as archive:
        index = _json(archive, "index.json")
        digest = str(index["manifests"][0]["digest"])
        manifest = _json(archive, _blob(digest))
        config = _json(archive, _blob(manifest["config"]["digest"]))
        components: list[Component] = []
        for layer in manifest["layers"]:
            stream = _open(archive, _blob(layer["digest"]))
            with tarfile.open(fileobj=stream, mode="r|*") as files:
                components += _components(files, str(config["architecture"]))
    json.dump(document(digest, components), sys.stdout, indent=1)
    sys.stdout.write("\n")
    return 0


def document(digest: str, components: list[Component]) -> dict[str, Any]:
    """The document: our own package is what it is about, the others are its components."""
    listed = sorted(components, key=lambda one: str(one["purl"]))
    subject = next(one for one in listed if one["name"] == PROGRAM)
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        # The same image has the same SBOM, to the byte.
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, digest)}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "container",
                "bom-ref": digest,
                "name": PROGRAM,
                "version": subject["version"],
                "hashes": [{"alg": "SHA-256", "content": digest.removeprefix("sha256:")}],
            }
        },
        "components": listed,
    }


def _components(files: tarfile.TarFile, architecture: str) -> list[Component]:
    found = []
    for entry in files:
        name = entry.name.removeprefix("./")
        if not entry.isfile() or not (name.startswith(DEBIAN) or name.endswith(".dist-info/METADATA")):
            continue
        content = files.extractfile(entry)
        if content is None:
            raise ValueError(f"{name} has no content")
        fields = email.message_from_bytes(content.read())
        found.append(_debian(fields, architecture) if name.startswith(DEBIAN) else _python(fields))
    return found


def _debian(fields: Message, architecture: str) -> Component:
    name, version = fields["Package"], fields["Version"]
    purl = f"pkg:deb/debian/{quote(name)}@{quote(version)}?arch={architecture}&distro=debian-12"
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


def _python(fields: Message) -> Component:
    name, version = fields["Name"], fields["Version"]
    purl = f"pkg:pypi/{quote(name.lower().replace('_', '-'))}@{quote(version)}"
    component: Component = {
        "type": "application" if name == PROGRAM else "library",
        "bom-ref": purl,
        "name": name,
        "version": version,
        "purl": purl,
    }
    # An expression is SPDX's (PEP 639); the older field is free text, sometimes a whole licence.
    if expression := fields["License-Expression"]:
        component["licenses"] = [{"expression": expression}]
    elif (text := fields["License"]) and "\n" not in text:
        component["licenses"] = [{"license": {"name": text}}]
    return component


def _blob(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/")


def _open(archive: tarfile.TarFile, name: str) -> IO[bytes]:
    stream = archive.extractfile(name)
    if stream is None:
        raise ValueError(f"{name} is not a file of the archive")
    return stream


def _json(archive: tarfile.TarFile, name: str) -> dict[str, Any]:
    with _open(archive, name) as stream:
        loaded: dict[str, Any] = json.load(stream)
        return loaded


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
