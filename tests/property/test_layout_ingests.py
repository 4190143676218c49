import itertools
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from spegel_gossip.content import ContentMismatchError
from spegel_gossip.oci.digest import Digest
from spegel_gossip.stores.layout.directory import LayoutDirectory
from spegel_gossip.stores.layout.ingest_file import IngestFile, open_ingest_file

WHOLE = bytes(range(256)) * 4
DIGEST = Digest.of(WHOLE)

steps = st.lists(
    st.one_of(
        st.tuples(st.just("right"), st.integers(1, len(WHOLE))),
        st.tuples(st.just("wrong"), st.integers(1, 64)),
        st.tuples(st.sampled_from(["keep", "abort", "commit"]), st.just(0)),
    ),
    max_size=12,
)


def opened(layout: LayoutDirectory, total: int) -> IngestFile | None:
    file = open_ingest_file(layout, f"layer-{DIGEST}", DIGEST, total)
    while file is not None and not file.rehash():
        pass
    return file


# Each example syncs to disk several times.
@settings(deadline=None, max_examples=50)
@given(steps, st.sampled_from([0, len(WHOLE)]))
def test_whatever_writers_do_the_blob_is_right_or_not_there(steps: list[tuple[str, int]], total: int) -> None:
    with TemporaryDirectory() as directory:
        layout = LayoutDirectory(Path(directory))
        layout.create()
        blob = Path(layout.content.blob_path(DIGEST))
        written = b""
        file = opened(layout, total)
        for step, count in itertools.chain(steps, [("keep", 0)]):
            if file is None:
                break
            assert file.offset == len(written)
            piece = WHOLE[len(written) :][:count] if step == "right" else b"\xff\xff" * count
            try:
                match step:
                    case "keep":
                        file.keep()
                    case "abort":
                        file.abort()
                        written = b""
                    case "commit":
                        file.commit()
                        assert written == WHOLE
                    case _:
                        file.write(piece)
                        written += piece
                        continue
            except ContentMismatchError:
                assert written != WHOLE or step == "wrong"
                written = b""
            # Every ending may be followed by another writer; that one goes on with what is there.
            assert not blob.exists() or blob.read_bytes() == WHOLE
            file = opened(layout, total)
        assert (file is None) == blob.exists()
        if file is not None:
            file.abort()
