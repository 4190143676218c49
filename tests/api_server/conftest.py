from collections.abc import Iterator

import pytest

from api_server.control_plane import ControlPlane, missing
from lab.absent import not_run


@pytest.fixture(scope="session")
def control_plane() -> Iterator[ControlPlane]:
    reason = missing()
    if reason is not None:
        not_run(reason)
    with ControlPlane() as plane:
        yield plane
