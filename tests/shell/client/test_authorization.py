from __future__ import annotations

import base64
import json
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qsl

import pytest
import trio

from lab import images
from shell.client.conftest import Bench, Start
from shell.client.scripted import Asked, Script, ScriptedRegistry, Told, error, serving
from spegel_gossip.client.credentials import Anonymous, Credentials, GivenCredentials
from spegel_gossip.client.docker_config import DockerConfig
from spegel_gossip.client.errors import CredentialsError, DeniedError, RegistryProtocolError

IMAGE = images.image(3, [0, 200_000])
SERVE = serving(IMAGE)


def token_server(asked: Asked) -> Told:
    return Told(body=json.dumps({"token": "good.token", "expires_in": 300}).encode())


def behind_tokens(realm: str, *, current: Callable[[], str] = lambda: "good.token") -> Script:
    def script(asked: Asked) -> Told:
        if asked.headers.get("authorization") == f"Bearer {current()}":
            return SERVE(asked)
        challenge = f'Bearer realm="{realm}",service="test.registry",scope="repository:team/app:pull"'
        return error(401, "UNAUTHORIZED", WWW_Authenticate=challenge)

    return script


def behind_basic(asked: Asked) -> Told:
    if asked.headers.get("authorization") == Credentials("ann", "s:cret").basic:
        return SERVE(asked)
    return error(401, "UNAUTHORIZED", WWW_Authenticate='Basic realm="here"')


def given(registry: ScriptedRegistry, credentials: Credentials) -> GivenCredentials:
    return GivenCredentials(registry.host, credentials, Anonymous())


async def test_an_anonymous_token_is_fetched_once_for_all_requests(bench: Bench, start: Start) -> None:
    tokens = await start(token_server)
    registry = await start(behind_tokens(f"{tokens.url}/token"))

    await bench.pull(f"{registry.host}/team/app:v1")

    (asked,) = tokens.asked
    assert asked.query == [("service", "test.registry"), ("scope", "repository:team/app:pull")]
    assert "authorization" not in asked.headers


async def test_credentials_go_to_the_token_server_and_not_to_the_registry(bench: Bench, start: Start) -> None:
    tokens = await start(token_server)
    registry = await start(behind_tokens(f"{tokens.url}/token"))
    credentials = Credentials("ann", "s:cret")
    bench.credentials = given(registry, credentials)

    await bench.pull(f"{registry.host}/team/app:v1")

    assert tokens.asked[0].headers["authorization"] == credentials.basic
    assert ("account", "ann") in tokens.asked[0].query
    sent = {asked.headers.get("authorization") for asked in registry.asked}
    assert sent == {None, "Bearer good.token"}


async def test_an_identity_token_is_posted(bench: Bench, start: Start) -> None:
    tokens = await start(token_server)
    registry = await start(behind_tokens(f"{tokens.url}/token"))
    bench.credentials = given(registry, Credentials("", "", "refresh"))

    await bench.pull(f"{registry.host}/team/app:v1")

    (asked,) = tokens.asked
    form = dict(parse_qsl(asked.body.decode()))
    assert (asked.method, form["grant_type"], form["refresh_token"]) == ("POST", "refresh_token", "refresh")
    assert form["scope"] == "repository:team/app:pull"


async def test_a_token_that_ended_early_is_renewed(bench: Bench, start: Start) -> None:
    given_out: list[str] = []

    def tokens(asked: Asked) -> Told:
        given_out.append(f"token{len(given_out)}")
        return Told(body=json.dumps({"access_token": given_out[-1]}).encode())

    token_registry = await start(tokens)

    def script(asked: Asked) -> Told:
        if "/blobs/" in asked.path and len(given_out) == 1:
            return error(401, WWW_Authenticate=f'Bearer realm="{token_registry.url}/"')
        return behind_tokens(
            f"{token_registry.url}/", current=lambda: given_out[-1] if given_out else "none"
        )(asked)

    registry = await start(script)

    await bench.pull(f"{registry.host}/team/app:v1")

    assert given_out == ["token0", "token1"]


async def test_basic_credentials_are_sent_when_asked_for(bench: Bench, start: Start) -> None:
    registry = await start(behind_basic)
    bench.credentials = given(registry, Credentials("ann", "s:cret"))

    await bench.pull(f"{registry.host}/team/app:v1")

    assert "authorization" not in registry.asked[0].headers


@pytest.mark.parametrize("credentials", [None, Credentials("ann", "wrong")])
async def test_a_login_that_is_missing_or_wrong_ends_it(
    bench: Bench, start: Start, credentials: Credentials | None
) -> None:
    registry = await start(behind_basic)
    if credentials is not None:
        bench.credentials = given(registry, credentials)

    with pytest.raises(DeniedError, match="log"):
        await bench.pull(f"{registry.host}/team/app:v1")

    assert len(registry.asked) <= 2


async def test_a_token_server_that_refuses_ends_it(bench: Bench, start: Start) -> None:
    tokens = await start(lambda asked: error(401))
    registry = await start(behind_tokens(f"{tokens.url}/token"))
    bench.credentials = given(registry, Credentials("ann", "wrong"))

    with pytest.raises(DeniedError, match="ann"):
        await bench.pull(f"{registry.host}/team/app:v1")


@pytest.mark.parametrize(
    "answer",
    [b"", b"[]", b"{}", b'{"token": 5}', b'{"token": "a\\r\\nX-Evil: 1"}', b'{"token": ""}', b"x" * 300_000],
)
async def test_a_token_that_is_none_is_refused(bench: Bench, start: Start, answer: bytes) -> None:
    tokens = await start(lambda asked: Told(body=answer))
    registry = await start(behind_tokens(f"{tokens.url}/token"))

    with pytest.raises(RegistryProtocolError):
        await bench.pull(f"{registry.host}/team/app:v1")


@pytest.mark.parametrize(
    "realm", ["", "token", "ftp://x/", "http://[", "http://u:p@127.0.0.1/", "file:///etc/passwd"]
)
async def test_a_realm_that_is_no_address_is_refused(bench: Bench, start: Start, realm: str) -> None:
    registry = await start(behind_tokens(realm))

    with pytest.raises(RegistryProtocolError, match=r"token server|no such host"):
        await bench.pull(f"{registry.host}/team/app:v1")


async def test_a_redirect_to_another_host_takes_no_credentials_along(bench: Bench, start: Start) -> None:
    storage = await start(SERVE)
    tokens = await start(token_server)
    inner = behind_tokens(f"{tokens.url}/token")

    def script(asked: Asked) -> Told:
        told = inner(asked)
        if told.status < 300 and "/blobs/" in asked.path:
            return Told(307, {"Location": f"{storage.url}{asked.path}?signature=x"})
        return told

    registry = await start(script)

    await bench.pull(f"{registry.host}/team/app:v1")

    assert len(storage.asked) == len(IMAGE.blobs)
    assert not [asked for asked in storage.asked if "authorization" in asked.headers]


async def test_a_redirected_range_stays_a_range(bench: Bench, start: Start) -> None:
    layer = IMAGE.blobs[-1]

    def store(asked: Asked) -> Told:
        return replace(SERVE(asked), cut_after=150_000)

    storage = await start(store)

    def script(asked: Asked) -> Told:
        if "/blobs/" in asked.path:
            return Told(307, {"Location": f"{storage.url}{asked.path}"})
        return SERVE(asked)

    registry = await start(script)

    await bench.pull(f"{registry.host}/team/app:v1")

    assert storage.asked_for(layer.digest)[-1].headers["range"] == "bytes=150000-"


async def test_redirects_in_a_circle_end(bench: Bench, start: Start) -> None:
    registry = await start(lambda asked: Told(302, {"Location": asked.target}))

    with pytest.raises(RegistryProtocolError, match="without end"):
        await bench.pull(f"{registry.host}/team/app:v1")


class TestDockerConfig:
    async def found(self, path: Path, content: object, registry: str) -> Credentials | None:
        path.write_text(json.dumps(content))  # noqa: ASYNC240 - a few bytes
        return await DockerConfig(path).credentials_for(registry)

    @pytest.mark.parametrize(
        ("key", "registry"),
        [
            ("https://index.docker.io/v1/", "docker.io"),
            ("docker.io", "docker.io"),
            ("ghcr.io", "ghcr.io"),
            ("https://ghcr.io", "ghcr.io"),
            ("https://Registry.example:5000/v2/", "registry.example:5000"),
        ],
    )
    async def test_a_login_is_found_by_any_way_of_writing_its_registry(
        self, tmp_path: Path, key: str, registry: str
    ) -> None:
        auth = base64.b64encode(b"ann:s:cret").decode()

        found = await self.found(
            tmp_path / "config.json", {"auths": {"http://[": {}, key: {"auth": auth}}}, registry
        )

        assert found == Credentials("ann", "s:cret")

    async def test_a_login_is_for_its_own_registry_only(self, tmp_path: Path) -> None:
        content = {
            "auths": {"ghcr.io": {"username": "a", "password": "b"}, "quay.io/team": {"username": "c"}}
        }

        assert await self.found(tmp_path / "config.json", content, "quay.io") is None

    async def test_an_identity_token_is_taken(self, tmp_path: Path) -> None:
        content = {"auths": {"ghcr.io": {"identitytoken": "t"}}}

        assert await self.found(tmp_path / "config.json", content, "ghcr.io") == Credentials(
            identity_token="t"  # noqa: S106 - no secret
        )

    async def test_no_file_is_no_login(self, tmp_path: Path) -> None:
        assert await DockerConfig(tmp_path / "config.json").credentials_for("ghcr.io") is None

    @pytest.mark.parametrize("text", ["", "[]", "{", '{"auths": {"ghcr.io": {"auth": "!"}}}'])
    async def test_a_file_that_makes_no_sense_is_named(self, tmp_path: Path, text: str) -> None:
        path = tmp_path / "config.json"
        await trio.Path(path).write_text(text)

        with pytest.raises(CredentialsError, match=r"config\.json"):
            await DockerConfig(path).credentials_for("ghcr.io")

    @pytest.fixture
    def helper(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        program = tmp_path / "docker-credential-test"
        program.write_text(
            "#!/bin/sh\nread -r server\ncase $server in\n"
            'https://index.docker.io/v1/) echo \'{"Username":"ann","Secret":"hub"}\';;\n'
            'sso.example) echo \'{"Username":"<token>","Secret":"refresh"}\';;\n'
            "odd.example) echo nonsense;;\nbroken.example) exit 3;;\n"
            "*) echo credentials not found in native keychain; exit 1;;\nesac\n"
        )
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
        return tmp_path / "config.json"

    @pytest.mark.parametrize(
        ("registry", "expected"),
        [
            ("docker.io", Credentials("ann", "hub")),
            ("sso.example", Credentials("", "", "refresh")),
            ("other.example", None),
        ],
    )
    async def test_a_helper_is_asked(self, helper: Path, registry: str, expected: Credentials | None) -> None:
        assert await self.found(helper, {"credsStore": "test"}, registry) == expected

    @pytest.mark.parametrize("registry", ["odd.example", "broken.example"])
    async def test_a_helper_that_fails_is_named(self, helper: Path, registry: str) -> None:
        with pytest.raises(CredentialsError, match="docker-credential-test"):
            await self.found(helper, {"credHelpers": {registry: "test"}}, registry)

    @pytest.mark.parametrize("name", ["missing", "../../bin/sh"])
    async def test_a_helper_that_cannot_be_run_is_named(self, helper: Path, name: str) -> None:
        with pytest.raises(CredentialsError, match=r"helper|docker-credential"):
            await self.found(helper, {"credsStore": name}, "ghcr.io")

    def test_secrets_do_not_show(self) -> None:
        shown = repr(Credentials("ann", "s:cret", "identity", "registry"))

        assert "ann" in shown
        assert not any(secret in shown for secret in ("s:cret", "identity'", "'registry'"))
