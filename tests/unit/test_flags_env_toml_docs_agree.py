import re
from pathlib import Path

import pytest

from spegel_gossip.cli.run import command
from spegel_gossip.cli.settings import load_settings, shown
from spegel_gossip.config import SETTINGS, default_of
from spegel_gossip.config.setting import Setting

DOCS = Path(__file__).parents[2] / "docs" / "configuration.md"
# Given, each of these is another value than the default.
EXAMPLES = {
    "node_name": "node-a",
    "advertise_address": "10.0.0.1",
    "registry_listen": "127.0.0.1:1",
    "peer_listen": "127.0.0.1:2",
    "status_listen": "127.0.0.1:3",
    "admin_socket": "/run/a.sock",
    "state_dir": "/state",
    "cluster_name": "other",
    "cluster_key_file": "/key",
    "seeds": "node-b:1",
    "seed_dns": "seeds.example",
    "discovery": "dns",
    "kubernetes_service": "mirror/peers",
    "zone": "a",
    "store": "layout",
    "containerd_address": "/run/c.sock",
    "containerd_namespace": "other",
    "containerd_root": "/c",
    "layout_root": "/layout",
    "mirror_registries": "https://ghcr.io",
    "default_registry": "ghcr.io",
    "registry_filters": "^ghcr",
    "tag_policies": "latest$=never",
    "max_uploads": "7",
    "max_partial_uploads": "5",
    "upload_limit": "100MiB",
    "drop_cache_above": "1GiB",
    "peer_tls_cert": "/tls/cert",
    "peer_tls_key": "/tls/key",
    "peer_tls_ca": "/tls/ca",
    "hosts_dir": "/hosts",
    "mirror_address": "127.0.0.1:4",
    "log_level": "debug",
    "log_format": "console",
}


def documented_row(setting: Setting, default: object) -> str:
    flag = f"--{setting.flag}/--no-{setting.flag}" if setting.has_negative else f"--{setting.flag}"
    metavar = f" {setting.metavar}" if setting.metavar else ""
    many = ", repeated" if setting.is_many else ""
    given = f"`{flag}{metavar}`{many}".replace("|", "\\|")
    default_text = setting.default_text or f"`{shown(default)}`"
    return f"| {given}<br>`{setting.envvar}` | {default_text} | {setting.help} |"


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_a_setting_is_documented_as_it_is(name: str) -> None:
    assert documented_row(SETTINGS[name], default_of(name)) in DOCS.read_text().splitlines()


def test_the_documentation_names_no_variable_that_is_not_read() -> None:
    named = set(re.findall(r"SPEGEL_GOSSIP_[A-Z_]*[A-Z]", DOCS.read_text()))

    assert named == {setting.envvar for setting in SETTINGS.values()} | {"SPEGEL_GOSSIP_CONFIG"}


def test_run_has_the_flags_of_the_settings_and_config_and_no_other() -> None:
    flags = {
        option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)
    }
    expected = {f"--{setting.flag}" for setting in SETTINGS.values()} | {"--config"}
    negative = {f"--no-{setting.flag}" for setting in SETTINGS.values() if setting.has_negative}

    assert flags == expected | negative


def test_no_flag_carries_a_default_of_its_own() -> None:
    given_nothing = command.make_context("run", []).params

    assert set(given_nothing.values()) <= {None, ()}


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_a_flag_a_variable_and_a_key_mean_the_same(name: str, tmp_path: Path) -> None:
    setting, text = SETTINGS[name], EXAMPLES[name]
    file = tmp_path / "node.toml"
    file.write_text(f"{setting.flag} = ['{text}']\n" if setting.is_many else f"{setting.flag} = '{text}'\n")

    by_flag = load_settings({name: (text,) if setting.is_many else text}, {})[name]
    by_variable = load_settings({name: None}, {setting.envvar: text})[name]
    by_key = load_settings({name: None, "config": str(file)}, {})[name]

    assert by_flag == by_variable == by_key
    assert by_flag != default_of(name)


@pytest.mark.parametrize("name", sorted(set(SETTINGS) - set(EXAMPLES)))
def test_a_switch_and_its_variable_and_its_key_mean_the_same(name: str, tmp_path: Path) -> None:
    setting = SETTINGS[name]
    file = tmp_path / "node.toml"
    file.write_text(f"{setting.flag} = true\n")

    assert setting.is_switch
    assert (
        load_settings({name: True}, {})
        == load_settings({name: None}, {setting.envvar: "true"})
        == {name: True}
    )
    assert load_settings({name: None, "config": str(file)}, {}) == {name: True}
