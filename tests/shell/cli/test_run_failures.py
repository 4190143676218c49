from spegel_gossip.cli.run import foreseen_failure
from spegel_gossip.errors import ConfigError, SpegelGossipError

PORT_TAKEN = ConfigError("--registry-listen: the port is taken")


def test_the_first_of_several_wrapped_failures_is_told() -> None:
    inner = ExceptionGroup("nursery", [PORT_TAKEN, SpegelGossipError("because of it")])

    assert foreseen_failure(ExceptionGroup("outer", [inner])) is PORT_TAKEN


def test_a_bug_beside_a_failure_is_not_hidden_by_it() -> None:
    assert foreseen_failure(ExceptionGroup("nursery", [PORT_TAKEN, KeyError("bug")])) is None
    assert foreseen_failure(ExceptionGroup("nursery", [KeyError("bug")])) is None
