"""Where the programs of a cluster are: in .tools/, built by scripts/build-kubernetes, or Debian's."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from lab.containerd import TOOLS

KUBERNETES = "1.34.1"
COREDNS = "1.12.3"
HELM = "3.18.4"
DEBIAN = "debian"

_BUILT = {
    "kube-apiserver": f"kube-apiserver-{KUBERNETES}",
    "kubectl": f"kubectl-{KUBERNETES}",
    "kubelet": f"kubernetes-nodes-{KUBERNETES}",
    "kube-proxy": f"kubernetes-nodes-{KUBERNETES}",
    "kube-controller-manager": f"kubernetes-nodes-{KUBERNETES}",
    "kube-scheduler": f"kubernetes-nodes-{KUBERNETES}",
    "coredns": f"coredns-{COREDNS}",
    "helm": f"helm-{HELM}",
    "pause": "pause",
}
_DEBIAN = {
    "etcd": "etcd-server",
    "runc": "runc",
    "docker-registry": "docker-registry",
    "iptables": "iptables",
    "openssl": "openssl",
}
_CNI_DIRECTORIES = (Path("/opt/cni/bin"), Path("/usr/lib/cni"))


class ProgramMissingError(RuntimeError):
    """A program is not on this machine; the message says how to get it."""


@dataclass(frozen=True)
class ContainerdPrograms:
    """A containerd with what must stand beside it where pods run."""

    major: int
    daemon: Path
    ctr: Path
    shim: Path


def program(name: str) -> Path:
    """The path of a program.

    Raises:
        ProgramMissingError: it is not here.
    """
    if name in _BUILT:
        path = TOOLS / _BUILT[name] / name
        if path.exists():
            return path
        raise ProgramMissingError(f"{name} is not in .tools/: scripts/build-kubernetes builds it")
    found = shutil.which(name)
    if found is None:
        raise ProgramMissingError(f"{name} is not installed: apt-get install {_DEBIAN.get(name, name)}")
    return Path(found).resolve()


def containerd_programs(version: str) -> ContainerdPrograms:
    """The programs of one version of containerd, or of the system's own for "debian".

    Raises:
        ProgramMissingError: one of them is not here.
    """
    if version == DEBIAN:
        daemon, ctr, shim = (program(one) for one in ("containerd", "ctr", "containerd-shim-runc-v2"))
        return ContainerdPrograms(1, daemon, ctr, shim)
    directory = TOOLS / f"containerd-{version}"
    shim = TOOLS / f"containerd-shim-{version}" / "containerd-shim-runc-v2"
    if not (directory / "containerd").exists() or not shim.exists():
        raise ProgramMissingError(
            f"containerd {version} is not in .tools/: scripts/build-kubernetes builds it"
        )
    return ContainerdPrograms(int(version.split(".")[0]), directory / "containerd", directory / "ctr", shim)


def cni_directory() -> Path:
    """Where the CNI plugins are.

    Raises:
        ProgramMissingError: there are none.
    """
    for directory in _CNI_DIRECTORIES:
        if (directory / "bridge").exists():
            return directory
    raise ProgramMissingError("no CNI plugins: apt-get install containernetworking-plugins")
