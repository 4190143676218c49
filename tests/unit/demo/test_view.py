import io

import pytest
from rich.console import Console

from spegel_gossip.demo.image import DemoImage
from spegel_gossip.demo.picture import REGISTRY, NodePicture, Picture, Step, StepState
from spegel_gossip.demo.view import Rates, draw, draw_story
from spegel_gossip.oci.descriptor import Descriptor
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.reference import TagName

LAYERS = tuple(
    Descriptor(Digest.of(bytes([number])), size * 1_000_000, "layer")
    for number, size in enumerate((80, 40, 50, 20, 10, 40))
)
IMAGE = DemoImage(
    TagName.parse("127.29.1.7:29500/demo/app:v1"),
    Descriptor(Digest.of(b"m"), 1, "m"),
    Descriptor(Digest.of(b"c"), 1, "c"),
    LAYERS,
)


def picture_of_a_pull(nodes: int = 6) -> Picture:
    steps = [
        Step("the first", StepState.HELD, 10.0, 1.5, ["a claim of the past"]),
        Step("node-2 pulls", StepState.TOLD, 11.5, 0.0, [f"claim {n}" for n in range(5)]),
        *(Step(f"step {number}") for number in range(3, 7)),
    ]
    picture = Picture(steps=steps, image=IMAGE, living=nodes - 1, registry_state="serves")
    for number in range(1, nodes + 1):
        node = NodePicture(f"node-{number}", "alive", nodes - 1, 1 / nodes)
        picture.nodes[node.name] = node
    for layer in LAYERS:
        blob = picture.nodes["node-1"].blob(str(layer.digest))
        blob.here, blob.is_whole, blob.by_source = layer.size, True, {REGISTRY: layer.size}
    picture.nodes["node-2"].is_pulling = True
    half = picture.nodes["node-2"].blob(str(LAYERS[0].digest))
    half.here, half.by_source = 40_000_000, {"node-1": 30_000_000, "node-3": 10_000_000}
    return picture


def drawn(picture: Picture, width: int, rates: Rates | None = None, now: float = 13.0) -> list[str]:
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(draw(picture, now, rates or Rates(), width))
    return console.export_text().splitlines()


@pytest.mark.parametrize("width", [80, 98, 200])
def test_it_fits_a_terminal_of_24_lines(width: int) -> None:
    lines = drawn(picture_of_a_pull(), width)

    assert len(lines) <= 23
    assert max(map(len, lines)) <= min(width, 98)


def test_a_row_says_who_sends_how_fast_and_how_much_is_here() -> None:
    picture, rates = picture_of_a_pull(), Rates()
    drawn(picture, 98, rates, now=12.5)
    picture.nodes["node-2"].blob(str(LAYERS[0].digest)).here += 10_000_000

    (row,) = [line for line in drawn(picture, 98, rates) if "node-2 " in line and "alive" in line]

    assert "20 MB/s ← node-1" in row
    assert "█████    ···· ····· ·· · ····" in row


def test_the_sums_tell_the_registry_from_the_nodes() -> None:
    lines = drawn(picture_of_a_pull(), 98)

    assert any("from the registry" in line and "240 MB" in line for line in lines)
    assert any("from other nodes" in line and " 40 MB" in line for line in lines)


def test_a_killed_node_is_not_shown_as_alive() -> None:
    picture = picture_of_a_pull()
    picture.nodes["node-3"].is_killed = True
    assert any("node-3" in line and "killed" in line for line in drawn(picture, 98))

    picture.nodes["node-3"].state = "suspect"
    assert any("node-3" in line and "suspect 5/5" in line for line in drawn(picture, 98))


def test_while_it_is_told_only_the_last_claims_are_shown_and_in_the_end_all() -> None:
    picture = picture_of_a_pull()
    console = Console(width=98, file=io.StringIO(), record=True)
    console.print(draw_story(picture.steps, 13.0, with_all_claims=True))

    live = "\n".join(drawn(picture, 98))
    assert "claim 4" in live
    assert "claim 1" not in live
    assert "past" not in live
    final = console.export_text()
    assert "claim 1" in final
    assert "past" in final


def test_before_anything_is_known_there_is_something_to_draw() -> None:
    assert drawn(Picture(), 80)
