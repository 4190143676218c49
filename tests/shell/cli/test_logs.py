import json
import subprocess
import sys

import pytest

SCRIPT = """
import logging, structlog
from spegel_gossip.cli.logs import configure_logs
from spegel_gossip.config.values import LogFormat, LogLevel
configure_logs(LogLevel("{level}"), LogFormat("{format}"))
log = structlog.get_logger("x")
log.debug("fine", a=1)
log.warning("bad", b=2)
logging.getLogger("library").info("chatter")
logging.getLogger("library").error("broken %s", "thing")
try:
    1 / 0
except ZeroDivisionError:
    log.exception("bug")
"""


def log_lines(level: str, log_format: str) -> list[str]:
    # Its own process: logging is configured once for a whole one.
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(level=level, format=log_format)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout == ""
    return result.stderr.splitlines()


def test_json_is_one_object_a_line_even_for_libraries_and_tracebacks() -> None:
    lines = [json.loads(line) for line in log_lines("info", "json")]

    assert [(line["level"], line["event"]) for line in lines] == [
        ("warning", "bad"),
        ("error", "broken thing"),
        ("error", "bug"),
    ]
    assert lines[0]["b"] == 2
    assert "ZeroDivisionError" in lines[2]["exception"]


@pytest.mark.parametrize(("level", "count"), [("debug", 1), ("info", 0)])
def test_the_level_decides_what_is_written(level: str, count: int) -> None:
    assert sum("fine" in line for line in log_lines(level, "console")) == count


def test_the_console_has_no_colour_when_it_is_none() -> None:
    assert not any("\x1b" in line for line in log_lines("info", "console"))
