"""A real kube-apiserver on a real etcd, on loopback, without controllers or nodes."""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kubelab.programs import ProgramMissingError, program
from lab.loopback import free_ports
from lab.process import Process, wait_until

ADMIN_TOKEN = "admin-of-the-test"  # noqa: S105 - of a server that lives for a test
START_TIMEOUT = 60.0
COMMAND_TIMEOUT = 60.0


def missing() -> str | None:
    """Why there can be no API server here, with the remedy; None when there can."""
    try:
        for name in ("kube-apiserver", "kubectl", "helm", "etcd", "openssl"):
            program(name)
    except ProgramMissingError as error:
        return str(error)
    return None


class ControlPlane:
    """The two processes, and kubectl and helm as the administrator; gone after the `with` block."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="control-plane-"))
        self._etcd_port, self._etcd_peer_port, self.port = free_ports(3)
        self._etcd: Process | None = None
        self._server: Process | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"https://127.0.0.1:{self.port}"

    @property
    def authority(self) -> Path:
        """The certificate that its own is checked with."""
        return self.directory / "certs" / "apiserver.crt"

    @property
    def process(self) -> Process:
        """The running API server."""
        if self._server is None:
            raise RuntimeError("the API server was not started")
        return self._server

    def __enter__(self) -> Self:
        key, public = self.directory / "sa.key", self.directory / "sa.pub"
        run("openssl", "genrsa", "-out", str(key), "2048")
        run("openssl", "rsa", "-in", str(key), "-pubout", "-out", str(public))
        (self.directory / "tokens.csv").write_text(f"{ADMIN_TOKEN},admin,admin,system:masters\n")
        client, peers = (f"http://127.0.0.1:{port}" for port in (self._etcd_port, self._etcd_peer_port))
        self._etcd = Process(
            [
                "etcd",
                f"--data-dir={self.directory / 'etcd'}",
                *(f"--listen-client-urls={client}", f"--advertise-client-urls={client}"),
                *(f"--listen-peer-urls={peers}", f"--initial-advertise-peer-urls={peers}"),
                f"--initial-cluster=default={peers}",
                # It is thrown away in a minute.
                "--unsafe-no-fsync",
            ],
            log=self.directory / "etcd.log",
        )
        try:
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if self._etcd is not None:
            self._etcd.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def start(self) -> None:
        """Start the API server, and wait until it answers."""
        log = self.directory / "kube-apiserver.log"
        self._server = process = Process(
            [
                str(program("kube-apiserver")),
                f"--etcd-servers=http://127.0.0.1:{self._etcd_port}",
                "--bind-address=127.0.0.1",
                f"--secure-port={self.port}",
                f"--cert-dir={self.directory / 'certs'}",
                "--service-account-issuer=https://kubernetes.default.svc",
                f"--service-account-signing-key-file={self.directory / 'sa.key'}",
                f"--service-account-key-file={self.directory / 'sa.pub'}",
                "--service-cluster-ip-range=10.96.0.0/16",
                "--authorization-mode=RBAC",
                f"--token-auth-file={self.directory / 'tokens.csv'}",
            ],
            log=log,
        )
        wait_until(
            self._is_answering,
            what="kube-apiserver to answer",
            timeout=START_TIMEOUT,
            logs=[log],
            still_possible=process.is_running,
        )

    def stop(self) -> None:
        """End the API server at once; what it said stays in etcd."""
        if self._server is not None:
            self._server.kill()
            self._server = None

    def kubectl(self, *arguments: str, token: str = ADMIN_TOKEN, document: object = None) -> str:
        """Run kubectl and return what it printed; a document goes to its standard input as JSON."""
        argv = [str(program("kubectl")), f"--server={self.url}", f"--certificate-authority={self.authority}"]
        text = "" if document is None else json.dumps(document)
        return run(*argv, f"--token={token}", *arguments, environment=self._environment(), text=text)

    def helm(self, *arguments: str) -> str:
        """Run helm and return what it printed."""
        where = [f"--kube-apiserver={self.url}", f"--kube-ca-file={self.authority}"]
        credentials = f"--kube-token={ADMIN_TOKEN}"
        return run(str(program("helm")), *where, credentials, *arguments, environment=self._environment())

    def get(self, kind: str, name: str, namespace: str) -> dict[str, Any]:
        """Return one object."""
        found: dict[str, Any] = json.loads(self.kubectl("get", kind, name, "-n", namespace, "-o", "json"))
        return found

    def _environment(self) -> dict[str, str]:
        home = str(self.directory)
        return {"HOME": home, "KUBECONFIG": f"{home}/none", "PATH": "/usr/local/bin:/usr/bin:/bin"}

    def _is_answering(self) -> bool:
        try:
            self.kubectl("get", "--raw", "/readyz")
            # Made a moment after the server is ready.
            self.kubectl("get", "namespace", "kube-system", "default")
        except CommandFailedError:
            return False
        return True


class CommandFailedError(RuntimeError):
    """A command ended with another status than 0; the message is what it said."""


def run(*argv: str, environment: Mapping[str, str] | None = None, text: str = "") -> str:
    """Run a command to its end and return what it printed.

    Raises:
        CommandFailedError: its status was not 0.
    """
    done = subprocess.run(
        argv,
        input=text,
        capture_output=True,
        text=True,
        check=False,
        timeout=COMMAND_TIMEOUT,
        env=environment,
    )
    if done.returncode != 0:
        raise CommandFailedError(f"{argv[0]} {' '.join(argv[1:])[:200]}: {done.stderr or done.stdout}")
    return done.stdout
