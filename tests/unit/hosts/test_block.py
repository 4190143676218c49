import pytest

from spegel_gossip.hosts.block import Made, Parted, part, wrap

BODY = '[host."http://127.0.0.1:29500"]\n  capabilities = ["pull", "resolve"]\n'


@pytest.mark.parametrize("before", ["", "# theirs\n", 'server = "https://a"\n\n'])
@pytest.mark.parametrize("after", ["", '[host."http://b"]\n', "# no line break at the end"])
def test_what_is_put_in_can_be_taken_out_again(before: str, after: str) -> None:
    assert part(f"{before}{wrap(BODY, Made.TABLE)}{after}") == Parted(before + after, Made.TABLE)


def test_a_line_break_that_was_added_goes_too() -> None:
    text = 'server = "https://a"\n' + wrap(BODY, Made.LINE_END_AND_TABLE)

    assert part(text).theirs == 'server = "https://a"'


def test_a_file_without_marks_is_theirs() -> None:
    assert part("# anything\n") == Parted("# anything\n")


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace('"resolve"', '"push"'),
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("table", "later-releases-word"),
    ],
    ids=["edited", "other line ends", "unknown word"],
)
def test_changed_lines_are_kept_without_the_marks_and_their_mirror_is_named(change: object) -> None:
    assert callable(change)
    parted = part(change("# a\n" + wrap(BODY, Made.TABLE)))

    assert parted.is_changed
    assert parted.made is Made.TABLE
    assert parted.mirror == "http://127.0.0.1:29500"
    assert ">>>" not in parted.theirs
    assert "[host." in parted.theirs


@pytest.mark.parametrize("lost", [0, -1])
def test_one_mark_alone_counts_as_a_change(lost: int) -> None:
    lines = wrap(BODY, Made.TABLE).splitlines(keepends=True)
    del lines[lost]

    assert part("".join(lines)) == Parted(BODY, is_changed=True)
