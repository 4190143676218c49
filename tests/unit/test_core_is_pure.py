import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import spegel_gossip

ROOT = Path(spegel_gossip.__file__).parent
CORE = ["oci", "swim", "ring", "directory", "swarm", "health.py"]
PORTS = ["content.py", "routing.py", "fetching.py"]
IMPURE = {
    *("asyncio", "datetime", "logging", "os", "secrets", "select", "selectors"),
    *("signal", "socket", "ssl", "subprocess", "threading", "time", "uuid"),
}


def modules(part: str) -> list[Path]:
    path = ROOT / part
    found = [path] if path.suffix else sorted(path.rglob("*.py"))
    assert found, f"{part} has no modules"
    return found


def imports_of(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""


@pytest.mark.parametrize("part", CORE)
def test_core_computes_and_nothing_else(part: str) -> None:
    for path in modules(part):
        tops = {name.split(".")[0] for name in imports_of(path)} - {"spegel_gossip", "msgpack"}
        assert tops <= sys.stdlib_module_names, f"{path}: third-party import {tops}"
        assert not tops & IMPURE, f"{path}: {tops & IMPURE}"


@pytest.mark.parametrize("part", CORE)
def test_core_takes_chance_as_an_argument(part: str) -> None:
    for path in modules(part):
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)):
                continue
            if node.value.id == "random":
                assert node.attr == "Random", f"{path}:{node.lineno}: random.{node.attr}"


@pytest.mark.parametrize("part", PORTS)
def test_ports_do_no_io(part: str) -> None:
    for path in modules(part):
        tops = {name.split(".")[0] for name in imports_of(path)} - {"spegel_gossip"}
        assert tops <= sys.stdlib_module_names, f"{path}: third-party import {tops}"
        assert not tops & IMPURE, f"{path}: {tops & IMPURE}"
