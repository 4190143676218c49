import pytest

from spegel_gossip.cli.tally import Tally
from spegel_gossip.cli.views import view
from spegel_gossip.client.progress import Outcome, Role
from spegel_gossip.oci.descriptor import Descriptor
from spegel_gossip.oci.digest import Digest

LAYER = Descriptor(Digest.of(b"layer"), 4_194_304, "layer")
CONFIG = Descriptor(Digest.of(b"config"), 1_024, "config")


def play(tally: Tally) -> None:
    tally.begin(LAYER, Role.LAYER, offset=1_048_576)
    tally.move(LAYER.digest, 1_048_576, "a.example")
    tally.pass_over("a.example", "it is \x1b[31mdown")
    tally.move(LAYER.digest, 2_097_152, "b.example")
    assert tally.unfinished == LAYER.size
    tally.end(LAYER, Role.LAYER, Outcome.MOVED)
    tally.end(CONFIG, Role.CONFIG, Outcome.HELD)


def test_the_summary_says_bytes_seconds_and_from_where() -> None:
    times = iter([0.0, *[2.0] * 10])
    with view("from", is_silent=True) as shown:
        tally = Tally(shown, lambda: next(times))
        play(tally)

    assert tally.summary("from") == (
        "3.0 MiB in 2.0 s (1.5 MiB/s), 1.0 MiB from a.example, 2.0 MiB from b.example, "
        "1.0 MiB from an earlier run, 1 of 2 blobs already there"
    )
    assert tally.unfinished == 0


def test_what_started_over_counts_as_moved_and_not_as_here() -> None:
    with view("from", is_silent=True) as shown:
        tally = Tally(shown, lambda: 0.0)
        tally.begin(LAYER, Role.LAYER, offset=1_000)
        tally.move(LAYER.digest, 500, "a.example")
        tally.restart(LAYER.digest)
        tally.move(LAYER.digest, 200, "a.example")

    assert (tally.moved, tally.unfinished) == (700, 200)


def test_without_a_terminal_each_blob_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with view("from", is_silent=False) as shown:
        play(Tally(shown, lambda: 0.0))

    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "the mirror a.example is passed over: it is \N{REPLACEMENT CHARACTER}[31mdown",
        f"layer    {LAYER.digest.hex[:12]} 4.0 MiB, from b.example",
        f"config   {CONFIG.digest.hex[:12]} 1.0 KiB, already there",
    ]


def test_on_a_terminal_each_blob_is_a_bar_with_its_source(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with view("from", is_silent=False) as shown:
        play(Tally(shown, lambda: 0.0))

    shown_text = capsys.readouterr().err
    assert f"layer    {LAYER.digest.hex[:12]}" in shown_text
    assert "4.2/4.2 MB" in shown_text or "4.0/4.0 MiB" in shown_text
    assert "\x1b[31mdown" not in shown_text


def test_silence_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    with view("from", is_silent=True) as shown:
        play(Tally(shown, lambda: 0.0))

    assert capsys.readouterr() == ("", "")
