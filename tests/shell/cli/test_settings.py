from pathlib import Path

import pytest

from spegel_gossip.cli.settings import load_settings, split_list
from spegel_gossip.config import SETTINGS
from spegel_gossip.config.values import LogLevel, SeedAddress
from spegel_gossip.errors import ConfigError

NOTHING: dict[str, object] = dict.fromkeys(SETTINGS)


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    return tmp_path / "node.toml"


def load(
    flags: dict[str, object] | None = None,
    environment: dict[str, str] | None = None,
    *,
    file: Path | None = None,
) -> dict[str, object]:
    config = {} if file is None else {"config": str(file)}
    return load_settings(NOTHING | (flags or {}) | config, environment or {})


def test_a_flag_wins_over_the_environment_that_over_the_file_that_over_the_default(toml: Path) -> None:
    toml.write_text('zone = "file"\nlog-level = "debug"\ncluster-name = "file"\n')
    environment = {"SPEGEL_GOSSIP_ZONE": "environment", "SPEGEL_GOSSIP_LOG_LEVEL": "error"}

    values = load({"zone": "flag"}, environment, file=toml)

    assert values["zone"] == "flag"
    assert values["log_level"] is LogLevel.ERROR
    assert values["cluster_name"] == "file"
    assert values["containerd_namespace"] == "k8s.io"


def test_an_off_switch_on_the_command_line_wins_over_an_on_in_the_file(toml: Path) -> None:
    toml.write_text("write-hosts = true\n")

    assert load(file=toml)["write_hosts"] is True
    assert load({"write_hosts": False}, file=toml)["write_hosts"] is False


def test_lists_are_not_mixed_from_two_sources(toml: Path) -> None:
    toml.write_text('seed = ["a", "b:1"]\n')

    assert load(file=toml)["seeds"] == (SeedAddress("a"), SeedAddress("b", 1))
    assert load(None, {"SPEGEL_GOSSIP_SEED": "c"}, file=toml)["seeds"] == (SeedAddress("c"),)
    assert load({"seeds": ("d",)}, {"SPEGEL_GOSSIP_SEED": "c"}, file=toml)["seeds"] == (SeedAddress("d"),)


def test_the_file_may_be_named_by_the_environment(toml: Path) -> None:
    toml.write_text('zone = "file"\n')

    assert load(None, {"SPEGEL_GOSSIP_CONFIG": str(toml)})["zone"] == "file"


def test_an_empty_variable_is_no_answer() -> None:
    assert load(None, {"SPEGEL_GOSSIP_CLUSTER_NAME": ""})["cluster_name"] == "spegel-gossip"


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("a,b", ["a", "b"]),
        (" a , b ,", ["a", "b"]),
        ("a{1,2}\nb", ["a{1,2}", "b"]),
        ("a{1,2}\n", ["a{1,2}"]),
    ],
)
def test_a_list_in_the_environment_is_by_lines_if_there_are_any_else_by_commas(
    text: str, items: list[str]
) -> None:
    assert split_list(text) == items


@pytest.mark.parametrize(
    ("text", "value"), [("true", True), ("1", True), ("Yes", True), ("off", False), ("0", False)]
)
def test_a_switch_in_the_environment_is_a_word(text: str, value: bool) -> None:
    assert load(None, {"SPEGEL_GOSSIP_PLAINTEXT": text})["plaintext"] is value


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("zone = 3", r"--zone .*string in quotes, not a number"),
        ("zone = true", r"--zone .*not a boolean"),
        ("zone = 1979-05-27", r"--zone .*not a date"),
        ("[zone]", r"--zone .*not a table"),
        ('plaintext = "true"', r"--plaintext .*true or false without quotes, not a string"),
        ('seed = "a"', r"--seed .*array of strings.*not a string"),
        ("seed = [1]", r"--seed .*array of strings"),
        ('seed = ["a:b:c"]', r"--seed \(from .*node.toml\): 'a:b:c'"),
        (
            'mirror_registries = "x"',
            r"--config: .*unknown key 'mirror_registries': did you mean 'mirror-registry'",
        ),
        ('log_level = "info"', r"did you mean 'log-level'"),
        ("qqqqqq = 1", r"--config: .*unknown key 'qqqqqq': remove it"),
        ("zone =", r"--config: .*is not TOML"),
    ],
)
def test_a_wrong_line_in_the_file_is_named(toml: Path, line: str, says: str) -> None:
    toml.write_text(f"{line}\n")

    with pytest.raises(ConfigError, match=says):
        load(file=toml)


def test_a_command_that_needs_little_of_the_file_checks_it_whole(toml: Path) -> None:
    toml.write_text('zone = 3\nstate-dir = "/s"\n')

    with pytest.raises(ConfigError, match="--zone"):
        load_settings({"config": str(toml), "state_dir": None}, {})


@pytest.mark.parametrize("content", [b"\xff\xfe", b"zone = " + b"[" * 100_000, b"#" * 2_000_000])
def test_a_file_that_is_no_settings_file_is_refused(toml: Path, content: bytes) -> None:
    toml.write_bytes(content)

    with pytest.raises(ConfigError, match="--config"):
        load(file=toml)


def test_a_missing_file_is_refused(toml: Path) -> None:
    with pytest.raises(ConfigError, match="--config: cannot read"):
        load(file=toml)


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"SPEGEL_GOSSIP_REGISTRY_LISTEN": "x"}, r"--registry-listen \(from SPEGEL_GOSSIP_REGISTRY_LISTEN\)"),
        ({"SPEGEL_GOSSIP_WRITE_HOSTS": "maybe"}, r"--write-hosts \(from .*'maybe' is neither true nor false"),
        (
            {"SPEGEL_GOSSIP_REGISTRY_FILTER": "("},
            r"^--registry-filter \(from [A-Z_]+\): '\(' is not a regular",
        ),
        ({"SPEGEL_GOSSIP_TAG_POLICY": "x"}, r"^--tag-policy \(from [A-Z_]+\): 'x' is not REGEX=POLICY"),
    ],
)
def test_a_wrong_variable_is_named_with_its_flag(environment: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        load(None, environment)
