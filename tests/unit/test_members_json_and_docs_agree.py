from __future__ import annotations

from pathlib import Path

import pytest

from spegel_gossip.admin.shapes import ConflictShape, MemberShape, MembersShape

DOCS = Path(__file__).parents[2] / "docs" / "configuration.md"


@pytest.mark.parametrize("shape", [MembersShape, MemberShape, ConflictShape])
def test_every_key_of_members_json_is_documented(shape: type[object]) -> None:
    (row,) = [line for line in DOCS.read_text().splitlines() if line.startswith("| `members` |")]
    assert [key for key in shape.__annotations__ if f"`{key}`" not in row] == []


def test_what_an_operator_wants_to_know_of_a_member_is_in_it() -> None:
    assert set(MemberShape.__annotations__) >= {
        "state", "incarnation", "boot", "zone", "addresses", "rtt_ms", "last_probe_age_s", "suspected_by",
    }  # fmt: skip
    assert "local_health" in MembersShape.__annotations__
