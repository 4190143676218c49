import pytest

from lab import images as lab_images
from shell.stores.conformance import content_of, root_of
from spegel_gossip.content import Availability
from spegel_gossip.oci.descriptor import Descriptor
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.reference import TagName
from spegel_gossip.stores.images import Images
from spegel_gossip.stores.inventory import Inventory
from spegel_gossip.stores.manifests import MAX_CACHED, ManifestCache
from spegel_gossip.stores.records import ImageRecord, digest_of_ref, tag_of

HEX = "ab" * 32
HUB = TagName("docker.io", "library/app", "v1")


class Desk:
    """Images with everything they need at hand."""

    def __init__(self) -> None:
        self.inventory = Inventory(Availability(is_connected=True, is_readable=True))
        self.manifests = ManifestCache()
        self.images = Images(self.inventory, self.manifests)

    def hold(self, artifact: lab_images.Artifact) -> None:
        for blob in (*artifact.blobs, *artifact.manifests):
            self.inventory.add_blob(Digest.parse(blob.digest), blob.size)

    def read(self, artifact: lab_images.Artifact) -> None:
        contents = {Digest.parse(manifest.digest): content_of(manifest) for manifest in artifact.manifests}
        for digest in contents:
            self.manifests.get(digest, contents.__getitem__)

    def put(self, name: str, artifact: lab_images.Artifact, updated_at: float = 1.0) -> None:
        target = Descriptor(root_of(artifact), artifact.root.size, artifact.root.media_type)
        self.images.put(ImageRecord(name, target, updated_at))
        self.images.judge(name)


@pytest.mark.parametrize(
    ("name", "tag"),
    [
        ("docker.io/library/nginx:1.27", TagName("docker.io", "library/nginx", "1.27")),
        ("index.docker.io/library/nginx:1.27", TagName("docker.io", "library/nginx", "1.27")),
        ("localhost:5000/a/b:c", TagName("localhost:5000", "a/b", "c")),
        (f"sha256:{HEX}", None),
        (f"docker.io/library/nginx@sha256:{HEX}", None),
        (f"docker.io/library/nginx:1.27@sha256:{HEX}", None),
        (f"import-2026-01-01@sha256:{HEX}", None),
        ("nginx", None),
        ("docker.io/Library/Nginx:1", None),
        ("", None),
    ],
)
def test_an_images_name_is_a_tag_only_if_it_names_one(name: str, tag: TagName | None) -> None:
    assert tag_of(name) == tag


def test_the_digest_of_a_ref_stands_at_its_end() -> None:
    digest = Digest("sha256", HEX)

    assert digest_of_ref(f"k8s.io/1/layer-{digest}") == digest
    assert digest_of_ref(f"k8s.io/1/layer-{digest}0") is None
    assert digest_of_ref("k8s.io/1/upload") is None


def test_of_two_names_for_one_tag_the_newer_speaks_and_the_older_takes_over() -> None:
    desk, old, new = Desk(), lab_images.image(1), lab_images.image(2)
    for artifact in (old, new):
        desk.hold(artifact)
        desk.read(artifact)
    desk.put("docker.io/library/app:v1", old, updated_at=1.0)
    desk.put("index.docker.io/library/app:v1", new, updated_at=2.0)
    assert desk.inventory.tags[HUB].target.digest == root_of(new)

    desk.images.remove("index.docker.io/library/app:v1")
    assert desk.inventory.tags[HUB].target.digest == root_of(old)

    desk.images.remove("docker.io/library/app:v1")
    assert HUB not in desk.inventory.tags


def test_an_image_whose_manifests_were_not_read_is_not_promised() -> None:
    desk, artifact = Desk(), lab_images.index(1)
    desk.hold(artifact)
    desk.put("docker.io/library/app:v1", artifact)
    assert desk.images.unread() == ["docker.io/library/app:v1"]
    assert not desk.inventory.tags

    desk.read(artifact)
    assert desk.images.judge("docker.io/library/app:v1")

    assert HUB in desk.inventory.tags
    assert desk.images.unread() == []


def test_only_the_images_that_rest_on_a_blob_are_judged_again() -> None:
    desk = Desk()
    base, derived = lab_images.derived_images(1, shared_layers=[0], own_layers=[0])
    for name, artifact in (("base", base), ("derived", derived)):
        desk.hold(artifact)
        desk.read(artifact)
        desk.put(f"docker.io/library/{name}:v1", artifact)
    shared = Digest.parse(base.blobs[-1].digest)
    own = Digest.parse(derived.blobs[-1].digest)

    assert sorted(desk.images.affected_by([shared])) == [
        "docker.io/library/base:v1",
        "docker.io/library/derived:v1",
    ]
    assert desk.images.affected_by([own]) == ["docker.io/library/derived:v1"]
    assert desk.images.affected_by([Digest("sha256", HEX)]) == []


def test_the_cache_of_manifests_is_bounded() -> None:
    cache = ManifestCache()
    first, *_ = digests = [Digest.of(number.to_bytes(4, "big")) for number in range(MAX_CACHED + 1)]
    reads: list[Digest] = []
    data = content_of(lab_images.image(1).root)

    def read(digest: Digest) -> bytes:
        reads.append(digest)
        return data

    for digest in (*digests, digests[-1], first):
        cache.get(digest, read)

    assert reads == [*digests, first]
