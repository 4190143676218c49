from __future__ import annotations

import random
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import trio
from kubernetes.client import Configuration

from shell.discovery import api_server as api
from spegel_gossip.discovery.kubernetes import KubernetesSeeds
from spegel_gossip.discovery.source import DiscoveryError
from spegel_gossip.swim.address import Address

PORT = 29501
A, B, C = (Address(f"10.0.0.{number}", PORT) for number in (1, 2, 3))
SOON = 0.01
SLICE = api.slice_of("peers-x", "10.0.0.1", "10.0.0.2")


@pytest.fixture
def server() -> Iterator[api.ApiServer]:
    with api.running(api.ApiServer()) as server:
        yield server


@pytest.fixture
def watch(server: api.ApiServer) -> Iterator[Callable[..., KubernetesSeeds]]:
    made: list[KubernetesSeeds] = []

    def make(
        service: str = "mirror/peers", *, url: str | None = None, length: float = 5.0, slack: float = 5.0
    ) -> KubernetesSeeds:
        def configure(configuration: Configuration) -> None:
            configuration.host = url or server.url

        seeds = KubernetesSeeds(
            service,
            port=PORT,
            rng=random.Random(1),
            configure=configure,
            first_back_off=SOON,
            watch_length=length,
            watch_slack=slack,
        )
        made.append(seeds)
        return seeds

    yield make
    for seeds in made:
        seeds.close()


async def until(seeds: KubernetesSeeds, expected: Sequence[Address]) -> None:
    found: Sequence[Address] = ()
    with trio.fail_after(10):
        while found != tuple(expected):
            await trio.sleep(SOON)  # the watch lives in a thread, which no virtual clock sees
            try:
                found = await seeds.find()
            except DiscoveryError:
                found = ()


async def test_the_endpoints_of_the_service_are_members_ready_or_not(
    server: api.ApiServer, watch: Callable[..., KubernetesSeeds]
) -> None:
    server.lists = [api.listing(SLICE)]

    assert await watch().find() == (A, B)

    path, query = server.asked[0]
    assert path == "/apis/discovery.k8s.io/v1/namespaces/mirror/endpointslices"
    assert query["labelSelector"] == ["kubernetes.io/service-name=peers"]


async def test_what_changes_is_known_without_another_list(
    server: api.ApiServer, watch: Callable[..., KubernetesSeeds]
) -> None:
    server.lists = [api.listing(SLICE, version=7)]
    server.watches = [
        api.changes(
            ("ADDED", api.slice_of("peers-y", "10.0.0.3", "fd00::3")),
            ("MODIFIED", api.slice_of("peers-x", "10.0.0.1")),
            ("BOOKMARK", {"metadata": {"resourceVersion": "9"}}),
            ("DELETED", api.slice_of("peers-y")),
            ("ADDED", api.slice_of("peers-z", "fd00::3")),
            then=api.hang,
        )
    ]

    await until(watch(), [A, Address("fd00::3", PORT)])

    lists = [query for _, query in server.asked if "watch" not in query]
    watches = [query for _, query in server.asked if "watch" in query]
    assert len(lists) == 1
    assert watches[0]["resourceVersion"] == ["7"]


async def test_a_watch_that_ends_is_followed_by_a_list(
    server: api.ApiServer, watch: Callable[..., KubernetesSeeds]
) -> None:
    server.lists = [api.listing(SLICE), api.listing(api.slice_of("peers-x", "10.0.0.3"))]
    server.watches = [api.changes(), api.hang]

    await until(watch(), [C])


async def test_a_version_that_is_too_old_is_followed_by_a_list(
    server: api.ApiServer, watch: Callable[..., KubernetesSeeds]
) -> None:
    server.lists = [api.listing(SLICE), api.listing(api.slice_of("peers-x", "10.0.0.3"))]
    server.watches = [api.changes(("ERROR", {"kind": "Status", "code": 410})), api.hang]

    await until(watch(), [C])


async def test_a_server_that_is_away_is_an_error_until_it_has_answered_once(
    server: api.ApiServer, watch: Callable[..., KubernetesSeeds]
) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{sock.getsockname()[1]}"
        seeds = watch(url=nobody)

        with pytest.raises(DiscoveryError, match="cannot be asked"):
            await seeds.find()


async def test_a_server_that_goes_away_takes_nothing_with_it(
    server: api.ApiServer, watch: Callable[..., KubernetesSeeds]
) -> None:
    server.lists = [api.listing(SLICE), api.body({"kind": "Status"}, 503)]
    server.watches = [api.changes()]
    seeds = watch()

    assert await seeds.find() == (A, B)
    with trio.fail_after(10):
        while len(server.asked) < 6:  # noqa: ASYNC110 - a server in a thread has no event for us
            await trio.sleep(SOON)

    assert await seeds.find() == (A, B)


async def test_a_server_that_answers_nothing_holds_nobody_up(
    server: api.ApiServer, watch: Callable[..., KubernetesSeeds]
) -> None:
    server.lists = [api.hang]
    seeds = watch()

    with trio.fail_after(10), pytest.raises(DiscoveryError, match="no answer"):
        await seeds.find()


async def test_a_watch_whose_packets_are_dropped_is_given_up(
    server: api.ApiServer, watch: Callable[..., KubernetesSeeds]
) -> None:
    server.lists = [api.listing(SLICE), api.listing(api.slice_of("peers-x", "10.0.0.3"))]

    await until(watch(length=0.05, slack=0.05), [C])


@pytest.mark.parametrize(
    ("lie", "words"),
    [
        (api.body({"kind": "Status", "code": 403}, 403), "403.*its Role must allow"),
        (api.body({"kind": "PodList", "items": []}), "no list of EndpointSlices"),
        (api.body({"kind": "EndpointSliceList", "items": "many"}), "no list of EndpointSlices"),
        (api.body([1, 2]), "no JSON object"),
        (api.raw(b"<html>maintenance</html>"), "not JSON"),
        (api.raw(b"[" * 100_000), "not JSON"),
        (api.raw(b"\xff\xfe"), "not JSON"),
    ],
    ids=["forbidden", "pods", "no items", "a list", "a page", "deep", "bytes"],
)
async def test_a_lie_is_an_error_that_says_what_it_is_and_the_truth_is_found_after_it(
    lie: api.Answer, words: str, server: api.ApiServer, watch: Callable[..., KubernetesSeeds]
) -> None:
    server.lists = [lie]
    seeds = watch()

    with pytest.raises(DiscoveryError, match=words):
        await seeds.find()
    server.lists = [api.listing(SLICE)]

    await until(seeds, [A, B])


@pytest.mark.parametrize(
    "nonsense",
    [
        {"metadata": {"name": "s"}, "endpoints": None},
        {
            "metadata": {"name": "s"},
            "endpoints": [None, {}, {"addresses": None}, {"addresses": [1, "x.svc"]}],
        },
        {"metadata": {"name": "s"}, "endpoints": [{"addresses": [1, "x.svc"]}]},
        {"metadata": None},
        {},
        "slice",
    ],
)
async def test_nonsense_among_slices_is_passed_over(
    nonsense: Any,  # noqa: ANN401 - whatever JSON there is
    server: api.ApiServer,
    watch: Callable[..., KubernetesSeeds],
) -> None:
    server.lists = [api.listing(nonsense, SLICE)]

    # 1 as an address is read as text, "1", and that is none.
    assert await watch().find() == (A, B)


async def test_an_empty_service_is_an_answer(
    server: api.ApiServer, watch: Callable[..., KubernetesSeeds]
) -> None:
    assert await watch().find() == ()


async def test_outside_of_a_pod_it_says_what_is_missing() -> None:
    seeds = KubernetesSeeds("mirror/peers", port=PORT, rng=random.Random(1))

    with pytest.raises(DiscoveryError, match="cannot be asked"):
        await seeds.find()
    seeds.close()


def test_the_client_is_not_loaded_where_nobody_chose_it() -> None:
    code = "import sys, spegel_gossip.node.lifecycle; print('kubernetes' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "False"
