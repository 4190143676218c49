import os
from collections.abc import Iterator

import pytest

from api_server.control_plane import ControlPlane, missing


@pytest.fixture(scope="session")
def control_plane() -> Iterator[ControlPlane]:
    reason = missing()
    if reason is not None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI must run this, but {reason}")
        pytest.skip(f"not run: {reason}")
    with ControlPlane() as plane:
        yield plane
