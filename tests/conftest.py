"""Options and marks that every suite shares."""

import signal

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--containerd",
        default="all",
        metavar="VERSIONS",
        help="which containerd the end-to-end tests use: all, debian (the system's), or versions by commas",
    )


def pytest_configure(config: pytest.Config) -> None:
    # CI's `timeout` sends SIGTERM: taken as Ctrl-C, the labs are taken down before the end.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    config.addinivalue_line("markers", "two_ways: for a containerd that pulls by its transfer service or not")
    config.addinivalue_line("markers", "slow: takes more than ten seconds; left out of scripts/test")
