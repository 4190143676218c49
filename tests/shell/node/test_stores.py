from pathlib import Path

import pytest

from spegel_gossip.config import NodeConfig
from spegel_gossip.config.values import Store
from spegel_gossip.errors import ConfigError
from spegel_gossip.node.stores import make_store
from spegel_gossip.oci.digest import Digest


def ignore(_digest: Digest) -> None:
    pass


async def test_a_layout_that_is_not_there_is_made(tmp_path: Path) -> None:
    config = NodeConfig(plaintext=True, state_dir=tmp_path, store=Store.LAYOUT)

    store = await make_store(config, on_wrong_blob=ignore)

    assert (tmp_path / "layout" / "oci-layout").exists()
    assert store.blobs() == {}
    await make_store(config, on_wrong_blob=ignore)


async def test_a_directory_that_is_something_else_is_a_wrong_setting(tmp_path: Path) -> None:
    (tmp_path / "photographs").mkdir()
    config = NodeConfig(plaintext=True, store=Store.LAYOUT, layout_root=tmp_path)

    with pytest.raises(ConfigError, match=r"--layout-root.*'photographs'"):
        await make_store(config, on_wrong_blob=ignore)
