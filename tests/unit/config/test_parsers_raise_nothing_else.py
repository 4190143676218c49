import contextlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from spegel_gossip.config import SETTINGS
from spegel_gossip.errors import ConfigError

TEXTS = sorted(name for name, setting in SETTINGS.items() if not setting.is_switch)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # re's, about sets in expressions of later Pythons
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", TEXTS)
@given(text=st.text() | st.from_regex(r"[\[\]0-9a-f:.%/=()?*-]+", fullmatch=True))
@example(text="\0")
@example(text="https://[")
@example(text="[::1%]:1")
@example(text="1" * 5000)
@example(text="(" * 5000)
@example(text="a{99999999999}")
def test_whatever_an_operator_types_is_a_value_or_a_wrong_setting(name: str, text: str) -> None:
    setting = SETTINGS[name]
    assert setting.parse is not None
    with contextlib.suppress(ConfigError):
        setting.parse([text] if setting.is_many else text)
