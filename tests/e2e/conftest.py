"""One lab for all cases of a file and a containerd version, and a clean start for each case."""

from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

import pytest

from lab.absent import not_run
from lab.cluster import Lab, missing_for_lab
from lab.containerd import ContainerdMissingError, containerd_build

VERSIONS = ("debian", "2.2.6")
TESTED = ("debian", "2.1.4", "2.2.6")
NODES = 3


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    # A file says with CONTAINERD_VERSIONS which versions it is about, if not the usual ones.
    if "containerd_version" not in metafunc.fixturenames:
        return
    wanted = metafunc.config.getoption("--containerd").split(",")
    offered = getattr(metafunc.module, "CONTAINERD_VERSIONS", VERSIONS)
    chosen = [one for one in offered if wanted == ["all"] or one in wanted]
    # Any other version, when it is named, wherever it is as new as the oldest that the file is about.
    if len(offered) > 1:
        oldest = min(map(_numbers, offered))
        named = (one for one in wanted if one[:1].isdigit() and one not in TESTED)
        chosen += [one for one in named if _numbers(one) >= oldest]
    metafunc.parametrize("containerd_version", chosen, scope="module")


def _numbers(version: str) -> tuple[int, ...]:
    return (0,) if version == "debian" else tuple(map(int, version.split(".")))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    # Where a containerd has one way to pull, the case of the other way does not exist: it is not "skipped".
    gone = [item for item in items if item.get_closest_marker("two_ways") and not _has_two_ways(item)]
    wanted = config.getoption("--containerd").split(",")
    gone += [item for item in items if _is_ours(item) and not _is_wanted(item, wanted)]
    if gone:
        config.hook.pytest_deselected(items=gone)
        items[:] = [item for item in items if item not in gone]


def _is_ours(item: pytest.Item) -> bool:
    return Path(__file__).parent in item.path.parents


def _is_wanted(item: pytest.Item, wanted: Sequence[str]) -> bool:
    # What is about no containerd in particular goes with Debian's. A file about others alone has no version.
    parameters = (
        item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    )
    version = parameters.get("containerd_version", "debian")
    return isinstance(version, str) and (wanted == ["all"] or version in wanted)


def _has_two_ways(item: pytest.Item) -> bool:
    assert isinstance(item, pytest.Function)
    try:
        return containerd_build(str(item.callspec.params["containerd_version"])).has_transfer_service
    except ContainerdMissingError:
        return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Function,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed and isinstance(lab := item.funcargs.get("shared_lab"), Lab):
        report.sections.append(("lab", lab.describe()))
    return report


@pytest.fixture(scope="module")
def shared_lab(containerd_version: str, request: pytest.FixtureRequest) -> Iterator[Lab]:
    reason = missing_for_lab()
    if reason is not None:
        not_run(reason)
    try:
        lab = Lab(nodes=getattr(request.module, "NODES", NODES), containerd=containerd_version)
    except ContainerdMissingError as error:
        not_run(str(error))
    with lab:
        yield lab


@pytest.fixture
def lab(shared_lab: Lab) -> Iterator[Lab]:
    """The file's lab with a running registry, running containerds, no faults, and none of our processes."""
    shared_lab.reset()
    yield shared_lab
    shared_lab.end_nodes()
    # Whatever the case was about, nobody may have asked for an API server.
    assert shared_lab.network.packets_to_api_server() == 0


@pytest.fixture(scope="module")
def _running(shared_lab: Lab) -> Iterator[Lab]:
    shared_lab.reset()
    shared_lab.start_nodes()
    yield shared_lab
    shared_lab.end_nodes()


@pytest.fixture
def running_lab(_running: Lab) -> Lab:
    """The file's lab with all nodes running, for cases that stop nothing but the registry."""
    _running.registry.start()
    _running.registry.forget()
    return _running
