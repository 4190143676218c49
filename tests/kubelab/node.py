"""A node: a machine with containerd, a kubelet and kube-proxy."""

import shutil
from pathlib import Path

from kubelab import settings
from kubelab.cgroups import Cgroup
from kubelab.machine import BIN, Machine
from kubelab.pki import Pki
from kubelab.programs import ContainerdPrograms, cni_directory, program
from lab.network import Namespace
from lab.process import CommandError, wait_until

_START_TIMEOUT = 30.0
_PULL_TIMEOUT = 120.0
_HOSTS = Path("/etc/hosts")


class KubeNode:
    """Its name is the Kubernetes node's; what it has on disk survives a power cut."""

    def __init__(
        self,
        name: str,
        number: int,
        namespace: Namespace,
        directory: Path,
        cgroup: Cgroup,
        containerd: ContainerdPrograms,
    ) -> None:
        self.name = name
        self.namespace = namespace
        self.pods = f"10.244.{number}.0/24"
        self.machine = Machine(name, namespace, directory, cgroup)
        self._containerd = containerd

    @property
    def address(self) -> str:
        """Its address, in Kubernetes' words its InternalIP."""
        return self.namespace.address

    def prepare(self, pki: Pki, dns_address: str) -> None:
        """Make its disk, with everything configured and nothing started."""
        names = ("kubelet", "kube-proxy", "runc", "pause")
        binds = {BIN / name: program(name) for name in names}
        binds[BIN / "containerd"] = self._containerd.daemon
        binds[BIN / "ctr"] = self._containerd.ctr
        binds[BIN / "containerd-shim-runc-v2"] = self._containerd.shim
        binds[Path("/opt/cni/bin")] = cni_directory()
        self.machine.prepare(binds)
        kubelet = pki.kubeconfig(f"system:node:{self.name}", "system:nodes")
        proxy = pki.kubeconfig("system:kube-proxy")
        texts = {
            Path("/etc/containerd/config.toml"): settings.containerd_config(self._containerd.major),
            Path("/etc/cni/net.d/10-lab.conflist"): settings.cni_config(self.pods),
            Path("/etc/resolv.conf"): "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n",
            _HOSTS: f"127.0.0.1 localhost\n{self.address} {self.name}\n",
            settings.KUBERNETES / "ca.crt": pki.authority.read_text(),
            settings.KUBERNETES / "kubelet.json": settings.kubelet_config(dns_address),
            settings.KUBERNETES / "kubelet.conf": kubelet.read_text(),
            settings.KUBERNETES / "kube-proxy.json": settings.kube_proxy_config(),
            settings.KUBERNETES / "kube-proxy.conf": proxy.read_text(),
        }
        for path, text in texts.items():
            self.machine.write(path, text)

    def begin_start(self) -> None:
        """Switch the machine on."""
        self.machine.begin_boot()

    def finish_start(self, pause_archive: Path) -> None:
        """Start containerd, the kubelet and kube-proxy, and wait for the first of them."""
        self.machine.wait_booted()
        self.machine.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
        self.start_containerd()
        if settings.PAUSE_IMAGE not in self.ctr("images", "ls", "-q"):
            self.load(pause_archive)
        self.machine.start(
            "kubelet",
            str(BIN / "kubelet"),
            "--config=/etc/kubernetes/kubelet.json",
            "--kubeconfig=/etc/kubernetes/kubelet.conf",
            f"--hostname-override={self.name}",
            f"--node-ip={self.address}",
            "--root-dir=/var/lib/kubelet",
        )
        proxy = (str(BIN / "kube-proxy"), "--config=/etc/kubernetes/kube-proxy.json")
        self.machine.start("kube-proxy", *proxy, f"--hostname-override={self.name}")

    def start_containerd(self) -> None:
        """Start it and wait until it answers."""
        argv = (str(BIN / "containerd"), "--config=/etc/containerd/config.toml")
        process = self.machine.start("containerd", *argv)
        wait_until(
            self._is_containerd_answering,
            what=f"containerd of {self.name}",
            timeout=_START_TIMEOUT,
            logs=[process.log],
            still_possible=process.is_running,
        )

    def _is_containerd_answering(self) -> bool:
        try:
            return "Server:" in self.ctr("version")
        except CommandError:
            return False

    def load(self, archive: Path) -> None:
        """Import an OCI archive under the name it carries, as if it had been pulled."""
        inbox = BIN.parent / archive.name
        copy = self.machine.path(inbox)
        shutil.copy(archive, copy)
        # By streams to its transfer service, where it has one, an archive may come out short.
        ways = ["--local"] if "--local" in self.ctr("images", "import", "--help") else []
        self.ctr("images", "import", *ways, str(inbox), timeout=_PULL_TIMEOUT)
        copy.unlink()

    def ctr(self, *arguments: str, timeout: float = _START_TIMEOUT) -> str:
        """Run ctr on the namespace k8s.io."""
        return self.machine.run("ctr", "-n", "k8s.io", *arguments, timeout=timeout)

    def pull(self, reference: str, *, timeout: float = _PULL_TIMEOUT) -> None:
        """Pull through the CRI's hosts.toml, as ctr does it: for images that no pod is to start."""
        self.ctr("images", "pull", "--hosts-dir", str(settings.CERTS_DIRECTORY), reference, timeout=timeout)

    def reaches(self, address: str, port: int) -> bool:
        """Whether somebody accepts connections there."""
        try:
            self.namespace.connect(address, port, timeout=2.0).close()
        except OSError:
            return False
        return True

    def write_hosts(self, registry: str, url: str) -> None:
        """Tell containerd where a registry is, as an operator does."""
        # containerd 1.6 refuses a file without a host.
        text = f'server = "{url}"\n\n[host."{url}"]\n  capabilities = ["pull", "resolve"]\n'
        self.machine.write(settings.CERTS_DIRECTORY / registry / "hosts.toml", text)

    def hosts_files(self) -> dict[str, bytes]:
        """Everything below certs.d, by path from there."""
        top = self.machine.path(settings.CERTS_DIRECTORY)
        return {
            str(one.relative_to(top)): one.read_bytes() for one in sorted(top.rglob("*")) if one.is_file()
        }

    def stop(self) -> None:
        """Stop kube-proxy, the kubelet and containerd; pods run on, as on a real node."""
        for name in ("kube-proxy", "kubelet", "containerd"):
            self.machine.stop(name)

    def power_off(self) -> None:
        """A power cut."""
        self.machine.power_off()
