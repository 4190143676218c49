from collections.abc import Sequence

import pytest
import trio
import trio.testing

from shell.lookup.nodes import until_true
from shell.prefetch.nodes import Nodes, PrefetchNode
from spegel_gossip.oci.reference import Reference
from spegel_gossip.prefetch.campaign import (
    MAX_CAMPAIGNS,
    SILENCE_TIMEOUT,
    Campaign,
    Campaigns,
    TooManyCampaignsError,
)
from spegel_gossip.prefetch.choice import Candidate
from spegel_gossip.prefetch.messages import PullState
from spegel_gossip.pulling import PullFailedError, PullProblem

APP = Reference.parse("registry.example.com/team/app:v1")


def begin(campaigns: Campaigns, *names: str, at_once: int = 8) -> Campaign:
    id_ = campaigns.begin(APP, [Candidate(name, "z") for name in names], at_once=at_once)
    campaign = campaigns.get(id_)
    assert campaign is not None
    return campaign


async def until_ended(campaign: Campaign) -> None:
    await until_true(lambda: campaign.has_ended)


def begun(nodes: Sequence[PrefetchNode]) -> int:
    return sum(bool(node.puller.begun) for node in nodes)


async def test_every_node_pulls_and_is_followed_to_its_end(nodes: Nodes) -> None:
    started = [await nodes.start(name) for name in "abc"]
    campaign = begin(nodes.campaigns(started[0]), "a", "b", "c")
    await until_true(lambda: begun(started) == 3)
    assert not campaign.has_ended
    started[2].puller.failure = PullFailedError(PullProblem.UNKNOWN_IMAGE, "not found")
    for node in started:
        node.puller.may_end.set()

    await until_ended(campaign)

    states = {name: status.state for name, status in campaign.nodes.items()}
    assert states == {"a": PullState.DONE, "b": PullState.DONE, "c": PullState.FAILED}
    assert campaign.nodes["c"].problem is PullProblem.UNKNOWN_IMAGE
    assert [node.puller.begun for node in started] == [[str(APP)]] * 3


async def test_no_more_than_wanted_pull_at_once(nodes: Nodes) -> None:
    started = [await nodes.start(name) for name in "abcd"]
    campaign = begin(nodes.campaigns(started[0]), "a", "b", "c", "d", at_once=2)
    await until_true(lambda: begun(started) >= 2)
    await trio.testing.wait_all_tasks_blocked(0.05)
    assert begun(started) == 2

    for node in started:
        node.puller.may_end.set()
    await until_ended(campaign)

    assert {status.state for status in campaign.nodes.values()} == {PullState.DONE}


async def test_a_node_of_an_older_release_is_named_as_that(nodes: Nodes) -> None:
    asker, _ = await nodes.start("a"), await nodes.start("old", knows_prefetch=False)

    campaign = begin(nodes.campaigns(asker), "old")
    await until_ended(campaign)

    assert campaign.nodes["old"].problem is PullProblem.UNSUPPORTED
    assert "release" in campaign.nodes["old"].detail


async def test_a_node_that_is_gone_is_waited_for_a_while_and_no_longer(
    nodes: Nodes, autojump_clock: trio.testing.MockClock
) -> None:
    campaign = begin(nodes.campaigns(await nodes.start("a")), "gone")

    await trio.sleep(SILENCE_TIMEOUT - 1)
    assert campaign.nodes["gone"].state is PullState.WAITING
    await trio.sleep(2)

    assert campaign.nodes["gone"].problem is PullProblem.UNREACHABLE


async def test_a_stopped_one_asks_no_further_node(nodes: Nodes) -> None:
    started = [await nodes.start(name) for name in "ab"]
    campaigns = nodes.campaigns(started[0])
    campaign = begin(campaigns, "a", "b", at_once=1)
    await until_true(lambda: begun(started) == 1)

    campaigns.stop(campaign.ask.id)
    await until_ended(campaign)

    assert {status.problem for status in campaign.nodes.values()} == {PullProblem.STOPPED}
    assert begun(started) == 1


async def test_one_that_nobody_watches_ends(nodes: Nodes, autojump_clock: trio.testing.MockClock) -> None:
    node = await nodes.start("a")
    campaign = begin(nodes.campaigns(node), "a")

    await trio.sleep(120)

    assert campaign.has_ended
    assert node.puller.cancelled == 1


async def test_as_many_as_may_run_and_no_more(nodes: Nodes) -> None:
    node = await nodes.start("a")
    campaigns = nodes.campaigns(node)
    running = [begin(campaigns, "a") for _ in range(MAX_CAMPAIGNS)]
    with pytest.raises(TooManyCampaignsError):
        begin(campaigns, "a")

    node.puller.may_end.set()
    for campaign in running:
        await until_ended(campaign)

    begin(campaigns, "a")
    assert campaigns.get(running[0].ask.id) is None
