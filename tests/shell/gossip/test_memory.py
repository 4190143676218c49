from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from spegel_gossip.gossip.memory import FILE_NAME, MAX_ADDRESSES, MemberMemory
from spegel_gossip.swim.address import Address

NOW = 1_800_000_000.0
ADDRESSES = (Address("10.0.0.1", 29501), Address("fd00::1", 29501))


def test_addresses_and_boot_survive_a_restart(tmp_path: Path) -> None:
    memory = MemberMemory(tmp_path)
    boot = memory.next_boot(NOW)
    memory.remember(ADDRESSES)

    again = MemberMemory(tmp_path)

    assert again.addresses == ADDRESSES
    assert again.boot == boot == NOW * 1000


def test_each_life_has_a_higher_boot_even_if_the_clock_goes_back(tmp_path: Path) -> None:
    first = MemberMemory(tmp_path).next_boot(NOW)
    second = MemberMemory(tmp_path).next_boot(NOW - 86_400)
    third = MemberMemory(tmp_path).next_boot(NOW + 1)

    assert first < second < third
    assert second == first + 1


def test_a_boot_and_addresses_written_at_once_are_both_kept(tmp_path: Path) -> None:
    # The loop writes boots, and a thread the addresses.
    memory = MemberMemory(tmp_path)
    boots = ((memory.remember_boot, boot) for boot in range(1, 101))
    members = ((memory.remember, ADDRESSES[: 1 + turn % 2]) for turn in range(100))

    def write_all(writes: Iterator[tuple[Callable[..., None], object]]) -> None:
        for write, value in writes:
            write(value)

    with capture_logs() as lines, ThreadPoolExecutor(2) as threads:
        list(threads.map(write_all, (boots, members)))

    assert lines == []
    again = MemberMemory(tmp_path)
    assert (again.boot, again.addresses) == (100, ADDRESSES)
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


def test_a_boot_that_was_raised_is_remembered(tmp_path: Path) -> None:
    MemberMemory(tmp_path).remember_boot(2**50)

    assert MemberMemory(tmp_path).next_boot(NOW) == 2**50 + 1


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"null",
        b'{"boot": 1}',
        b'{"boot": "1", "addresses": []}',
        b'{"boot": -1, "addresses": []}',
        b'{"boot": 9999999999999999999999, "addresses": []}',
        b'{"boot": 1, "addresses": [["name", 1]]}',
        b'{"boot": 1, "addresses": [["10.0.0.1", 0]]}',
        b'{"boot": 1, "addresses": [["10.0.0.1", "x"]]}',
        b'{"boot": 1, "addresses": [[]]}',
        b'{"boot": 1, "addresses": {}}',
        b"[" * 100_000,
    ],
    ids=range(14),
)
def test_a_damaged_file_costs_only_what_it_held(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)

    memory = MemberMemory(tmp_path)

    assert (memory.boot, memory.addresses) == (0, ())
    assert memory.next_boot(NOW) == NOW * 1000
    assert MemberMemory(tmp_path).boot == memory.boot


def test_a_directory_that_cannot_be_written_costs_nothing_but_memory(tmp_path: Path) -> None:
    memory = MemberMemory(tmp_path / "missing")

    assert memory.next_boot(NOW) == NOW * 1000
    memory.remember(ADDRESSES)
    assert memory.addresses == ADDRESSES


def test_no_half_written_file_is_left(tmp_path: Path) -> None:
    memory = MemberMemory(tmp_path)
    memory.remember(ADDRESSES)

    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]
    assert json.loads((tmp_path / FILE_NAME).read_bytes())["addresses"][0] == ["10.0.0.1", 29501]


def test_what_is_remembered_is_bounded(tmp_path: Path) -> None:
    memory = MemberMemory(tmp_path)
    memory.remember([Address("10.0.0.1", port) for port in range(1, MAX_ADDRESSES + 100)])

    assert len(memory.addresses) == len(MemberMemory(tmp_path).addresses) == MAX_ADDRESSES
