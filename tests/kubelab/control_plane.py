"""etcd, kube-apiserver, kube-controller-manager, kube-scheduler and CoreDNS in one network namespace."""

import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from kubelab.cgroups import Cgroup
from kubelab.pki import Pki
from kubelab.programs import program
from kubelab.settings import CLUSTER_DOMAIN
from lab.network import Namespace
from lab.process import CommandError, Process, run, tail, wait_until

PORT = 6443
SERVICES = "10.96.0.0/16"
API_SERVICE = "10.96.0.1"
_START_TIMEOUT = 90.0
_KUBECTL_TIMEOUT = 60.0


class ControlPlane:
    """Runs from `start` to `stop`; DNS has an address of its own, so it stays when the API server's goes."""

    def __init__(
        self, namespace: Namespace, dns_address: str, directory: Path, cgroup: Cgroup, *, grace_period: float
    ) -> None:
        self.namespace = namespace
        self.dns_address = dns_address
        self._directory = directory
        self._cgroup = cgroup
        self._grace_period = grace_period
        self._stack = ExitStack()
        self._dns: Process | None = None
        directory.mkdir()
        namespace.run("ip", "address", "add", f"{dns_address}/16", "dev", "eth0")
        self.server = f"https://{namespace.address}:{PORT}"
        self.pki = Pki(directory / "pki", self.server)
        self.admin = self.pki.kubeconfig("lab-admin", "system:masters")

    def start(self) -> None:
        """Start everything, each when the one it needs answers."""
        self._start_etcd()
        self._start_api_server()
        self._start_controllers()
        self.start_dns()

    def stop(self) -> None:
        """End everything at once; nothing of it is to survive."""
        self._stack.close()
        self._cgroup.delete()

    def kubectl(self, *arguments: str, stdin: str | None = None, timeout: float = _KUBECTL_TIMEOUT) -> str:
        """Run kubectl as the cluster's administrator."""
        return self.client("kubectl", *arguments, stdin=stdin, timeout=timeout)

    def client(self, name: str, *arguments: str, stdin: str | None = None, timeout: float) -> str:
        """Run a client of the API server (kubectl, helm) as the cluster's administrator."""
        # Their caches would stay behind in the home of whoever runs the tests.
        environment = ("env", f"HOME={self._directory}", f"KUBECONFIG={self.admin}")
        argv = self.namespace.argv(*environment, str(program(name)), *arguments)
        return run(*argv, timeout=timeout, input_text=stdin)

    def describe(self) -> str:
        """The ends of its logs."""
        return "\n".join(tail(log) for log in sorted(self._directory.glob("*.log")))

    def _start(self, name: str, *flags: str) -> Process:
        argv = ("nsenter", f"--net=/run/netns/{self.namespace.name}", "--", str(program(name)), *flags)
        process = Process(self._cgroup.argv(*argv), log=self._directory / f"{name}.log")
        self._stack.callback(process.kill)
        return process

    def _wait(self, process: Process, condition: Callable[[], bool]) -> None:
        wait_until(
            condition,
            what=f"{process.log.stem} to answer",
            timeout=_START_TIMEOUT,
            logs=[process.log],
            still_possible=process.is_running,
        )

    def _is_answering(self, address: str, port: int, path: str) -> bool:
        try:
            return self.namespace.get(address, port, path, timeout=2.0)[0] == 200
        except OSError:
            return False

    def _start_etcd(self) -> None:
        clients, peers = "http://127.0.0.1:2379", "http://127.0.0.1:2380"
        process = self._start(
            "etcd",
            "--name=lab",
            f"--data-dir={self._directory / 'etcd'}",
            f"--listen-client-urls={clients}",
            f"--advertise-client-urls={clients}",
            f"--listen-peer-urls={peers}",
            f"--initial-advertise-peer-urls={peers}",
            f"--initial-cluster=lab={peers}",
        )
        self._wait(process, lambda: self._is_answering("127.0.0.1", 2379, "/health"))

    def _start_api_server(self) -> None:
        address = self.namespace.address
        service = "kubernetes.default.svc"
        names = ("localhost", "kubernetes", "kubernetes.default", service, f"{service}.{CLUSTER_DOMAIN}")
        serving = self.pki.serving(
            "kube-apiserver", addresses=[address, API_SERVICE, "127.0.0.1"], names=names
        )
        kubelet = self.pki.client("kube-apiserver-to-kubelets", "system:masters")
        process = self._start(
            "kube-apiserver",
            "--etcd-servers=http://127.0.0.1:2379",
            "--bind-address=0.0.0.0",
            f"--secure-port={PORT}",
            f"--advertise-address={address}",
            f"--tls-cert-file={serving.certificate}",
            f"--tls-private-key-file={serving.key}",
            f"--client-ca-file={self.pki.authority}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged=true",
            f"--service-cluster-ip-range={SERVICES}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-signing-key-file={self.pki.service_account_key}",
            f"--service-account-key-file={self.pki.service_account_key}",
            f"--kubelet-client-certificate={kubelet.certificate}",
            f"--kubelet-client-key={kubelet.key}",
            "--kubelet-preferred-address-types=InternalIP",
            "--profiling=false",
        )
        self._wait(process, self._is_api_server_ready)

    def _is_api_server_ready(self) -> bool:
        try:
            return self.kubectl("get", "--raw", "/readyz", timeout=20.0).strip() == "ok"
        except CommandError:
            return False

    def _start_controllers(self) -> None:
        shared = ("--leader-elect=false", "--bind-address=127.0.0.1", "--profiling=false")
        manager = self.pki.kubeconfig("system:kube-controller-manager")
        self._start(
            "kube-controller-manager",
            *shared,
            f"--kubeconfig={manager}",
            f"--authentication-kubeconfig={manager}",
            f"--authorization-kubeconfig={manager}",
            "--use-service-account-credentials=true",
            f"--service-account-private-key-file={self.pki.service_account_key}",
            f"--root-ca-file={self.pki.authority}",
            "--allocate-node-cidrs=false",
            f"--node-monitor-grace-period={self._grace_period:g}s",
        )
        scheduler = self.pki.kubeconfig("system:kube-scheduler")
        self._start(
            "kube-scheduler",
            *shared,
            f"--kubeconfig={scheduler}",
            f"--authentication-kubeconfig={scheduler}",
            f"--authorization-kubeconfig={scheduler}",
        )

    def start_dns(self) -> None:
        """Start CoreDNS; nothing happens when it runs."""
        if self._dns is not None:
            return
        # system:masters: none of the cluster's own roles covers all that CoreDNS watches.
        kubeconfig = self.pki.kubeconfig("coredns", "system:masters")
        corefile = self._directory / "Corefile"
        zone = f"kubernetes {CLUSTER_DOMAIN} in-addr.arpa {{\n    kubeconfig {kubeconfig}\n    ttl 1\n  }}"
        corefile.write_text(
            f".:53 {{\n  bind {self.dns_address}\n  errors\n  ready {self.dns_address}:8181\n  {zone}\n}}\n"
        )
        self._dns = self._start("coredns", "-conf", str(corefile))
        self._wait(self._dns, lambda: self._is_answering(self.dns_address, 8181, "/ready"))

    def stop_dns(self) -> None:
        """Stop CoreDNS: no name of the cluster resolves any more."""
        if self._dns is not None:
            self._dns.kill()
            self._dns = None

    def objects(self, *arguments: str) -> list[dict[str, object]]:
        """What `kubectl get` finds, as documents."""
        found = json.loads(self.kubectl("get", *arguments, "-o", "json"))
        items: list[dict[str, object]] = found.get("items", [found])
        return items
