"""A bridge in a namespace of its own, namespaces on it, bandwidth per link, and faults.

The host has no address on this network: nothing here can be reached but from inside a namespace, and
nothing here reaches out. Each lab has its own bridge, so all labs use the same addresses and run side by
side.

Every namespace is as a strict NetworkPolicy would leave it: only the ports it opens answer, everything
else that comes in is dropped without a word, and so is whatever goes to an address outside the lab. The
bridge answers ARP for `API_SERVER_ADDRESS` and swallows what is sent there: a black hole where the API
server would be.
"""

import ctypes
import http.client
import os
import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from lab.process import COMMAND_TIMEOUT, CommandError, run

API_SERVER_ADDRESS = "10.96.0.1"
"""Where a cluster's `kubernetes` service usually is."""

SUBNET = "10.77.0.0/16"
BRIDGE_ADDRESS = "10.77.0.1"
_CLONE_NEWNET = 0x40000000
_FAULT = "spegel-gossip-fault"
_libc = ctypes.CDLL(None, use_errno=True)


def _setns(handle: int) -> None:
    if _libc.setns(handle, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns: is this root?")


class Namespace:
    """A network namespace with one interface, eth0, on the lab's bridge, and its faults."""

    def __init__(self, network: "Network", short_name: str, address: str) -> None:
        self.name = f"{network.prefix}-{short_name}"
        self.address = address
        self._network = network
        self._bridge_port = f"p-{short_name}"[:15]

    def configure(self, open_ports: Sequence[int]) -> None:
        """Make its link, address and packet filter; `open_ports` answer on TCP and UDP."""
        bridge = self._network.bridge_namespace
        veth = ("type", "veth", "peer", "name", "eth0", "netns", self.name)
        run("ip", "-n", bridge, "link", "add", self._bridge_port, *veth)
        run("ip", "-n", bridge, "link", "set", self._bridge_port, "master", "br0", "up")
        commands = [
            "link set lo up",
            f"address add {self.address}/16 dev eth0",
            "link set eth0 up",
            f"route add default via {BRIDGE_ADDRESS}",
        ]
        run("ip", "-n", self.name, "-batch", "-", input_text="\n".join(commands) + "\n")
        rules = [
            "*filter",
            ":INPUT DROP [0:0]",
            "-A INPUT -i lo -j ACCEPT",
            "-A INPUT -p icmp -j ACCEPT",
            "-A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
            *(
                f"-A INPUT -s {SUBNET} -p {protocol} --dport {port} -j ACCEPT"
                for port in open_ports
                for protocol in ("tcp", "udp")
            ),
            "COMMIT",
        ]
        run(*self.argv("iptables-restore"), input_text="\n".join(rules) + "\n")

    def argv(self, *argv: str) -> list[str]:
        """The command that runs `argv` inside."""
        return ["ip", "netns", "exec", self.name, *argv]

    def run(self, *argv: str, timeout: float = COMMAND_TIMEOUT) -> str:
        """Run a command inside to its end and return what it printed."""
        return run(*self.argv(*argv), timeout=timeout)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Sockets that this thread makes within the block belong to this namespace for good."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            there = os.open(f"/run/netns/{self.name}", os.O_RDONLY | os.O_CLOEXEC)
            try:
                _setns(there)
            finally:
                os.close(there)
            try:
                yield
            finally:
                _setns(home)
        finally:
            os.close(home)

    def connect(self, host: str, port: int, *, timeout: float = 5.0) -> socket.socket:
        """A TCP connection from inside."""
        with self.entered():
            link = socket.socket()
        link.settimeout(timeout)
        try:
            link.connect((host, port))
        except OSError:
            link.close()
            raise
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return link

    def listen(self, port: int) -> socket.socket:
        """A TCP listener inside, which connections reach though nobody accepts them."""
        with self.entered():
            return socket.create_server((self.address, port))

    def datagram_socket(self) -> socket.socket:
        """An unbound UDP socket that sends from inside."""
        with self.entered():
            return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def http(self, host: str, port: int, *, timeout: float = 30.0) -> http.client.HTTPConnection:
        """An HTTP connection from inside, open already."""
        connection = http.client.HTTPConnection(host, port, timeout=timeout)
        connection.sock = self.connect(host, port, timeout=timeout)
        connection.auto_open = 0
        return connection

    def get(self, host: str, port: int, path: str, *, timeout: float = 5.0) -> tuple[int, bytes]:
        """Status and body of one GET from inside; OSError when nobody answers."""
        with closing(self.http(host, port, timeout=timeout)) as connection:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()

    def limit_bandwidth(self, megabits: float) -> None:
        """Shape both directions of the link, for each `megabits` per second (tbf)."""
        rate = ("root", "tbf", "rate", f"{megabits}mbit", "burst", "256kb", "latency", "50ms")
        for inside, device in ((self.name, "eth0"), (self._network.bridge_namespace, self._bridge_port)):
            run("tc", "-n", inside, "qdisc", "replace", "dev", device, *rate)

    def trickle(self, port: int, bytes_a_second: int) -> None:
        """Let what TCP sends from a port drip out; all else leaves as before."""
        device = ("dev", "eth0")
        from_port = f"match ip protocol 6 0xff match ip sport {port} 0xffff".split()
        rate = ("rate", f"{bytes_a_second}bps", "burst", "2kb", "limit", "1mb")
        for command in (
            ("qdisc", "replace", *device, "root", "handle", "1:", "htb"),  # what has no class is let through
            ("class", "add", *device, "parent", "1:", "classid", "1:1", "htb", "rate", "10gbit"),
            # Splits what the kernel sends in one piece, and keeps what must wait: no packet is lost.
            ("qdisc", "add", *device, "parent", "1:1", "tbf", *rate),
            ("filter", "add", *device, "parent", "1:", "protocol", "ip", "u32", *from_port, "flowid", "1:1"),
        ):
            run("tc", "-n", self.name, *command)

    def lift_bandwidth_limit(self) -> None:
        """Undo `limit_bandwidth` and `trickle`; nothing happens where there is no limit."""
        for inside, device in ((self.name, "eth0"), (self._network.bridge_namespace, self._bridge_port)):
            if "tbf" in run("tc", "-n", inside, "qdisc", "show", "dev", device):
                run("tc", "-n", inside, "qdisc", "del", "dev", device, "root")

    def set_link(self, *, up: bool) -> None:
        """Plug the cable in, or pull it; the addresses and the default route stay."""
        state = "up" if up else "down"
        run("ip", "-n", self._network.bridge_namespace, "link", "set", self._bridge_port, state)

    def black_hole(self, *, address: str | None = None, port: int | None = None) -> None:
        """Drop what goes to and comes from an address, a port, or both, without a word, until `heal`."""
        for protocol in ("tcp", "udp") if port is not None else ("all",):
            self._fault(protocol, address, port, "DROP")

    def reset(self, *, address: str | None = None, port: int | None = None) -> None:
        """Answer what TCP sends to and from there with a reset, until `heal`."""
        self._fault("tcp", address, port, "REJECT", "--reject-with", "tcp-reset")

    def heal(self) -> None:
        """Take all black holes and resets away."""
        for rule in self.run("iptables", "-S").splitlines():
            if _FAULT in rule:
                self.run("iptables", "-D", *rule.split()[1:])

    def _fault(self, protocol: str, address: str | None, port: int | None, *target: str) -> None:
        # What comes in by lo is our own REJECT's answer to ourselves, in the peer's name.
        for chain, link, end in (("INPUT", ["!", "-i", "lo"], "-s"), ("OUTPUT", [], "-d")):
            match = [*link, "-p", protocol, *([end, address] if address else [])]
            for ports in [["--dport", str(port)], ["--sport", str(port)]] if port is not None else [[]]:
                rule = [*match, *ports, "-m", "comment", "--comment", _FAULT, "-j", *target]
                self.run("iptables", "-I", chain, *rule)

    def bytes_sent(self) -> int:
        """Bytes that left through eth0 so far, headers included."""
        return int(self.run("cat", "/sys/class/net/eth0/statistics/tx_bytes"))

    def packets_sent(self) -> int:
        """Packets that left through eth0 so far."""
        return int(self.run("cat", "/sys/class/net/eth0/statistics/tx_packets"))


class Network:
    """The bridge and every namespace on it; a context manager that removes them all."""

    def __init__(self) -> None:
        self.prefix = f"sg{os.urandom(3).hex()}"
        self.bridge_namespace = f"{self.prefix}-sw"
        self._namespaces: list[Namespace] = []

    def __enter__(self) -> Self:
        run("ip", "netns", "add", self.bridge_namespace)
        commands = [
            "link add br0 type bridge",
            f"address add {BRIDGE_ADDRESS}/16 dev br0",
            f"address add {API_SERVER_ADDRESS}/32 dev br0",
            "link set br0 up",
        ]
        try:
            run("ip", "-n", self.bridge_namespace, "-batch", "-", input_text="\n".join(commands) + "\n")
            inside = ("ip", "netns", "exec", self.bridge_namespace)
            run(*inside, "iptables", "-A", "INPUT", "-d", API_SERVER_ADDRESS, "-j", "DROP")
            run(*inside, "iptables", "-P", "INPUT", "DROP")
            # Not by a FORWARD policy: where br_netfilter is loaded, that would stop the bridge itself.
            run(*inside, "sysctl", "-qw", "net.ipv4.ip_forward=0")
        except BaseException:
            run("ip", "netns", "del", self.bridge_namespace)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        failures = []
        for name in [namespace.name for namespace in self._namespaces] + [self.bridge_namespace]:
            try:
                run("ip", "netns", "del", name)
            except CommandError as failure:
                failures.append(failure)
        if failures and error is None:
            raise ExceptionGroup("namespaces left behind", failures)

    def add(self, short_name: str, host: int, *, open_ports: Sequence[int]) -> Namespace:
        """A new namespace at 10.77.(host / 256).(host % 256); it goes when the network goes."""
        if not re.fullmatch(r"[a-z0-9]{1,8}", short_name):
            raise ValueError(
                f"a namespace's short name is 1 to 8 small letters and digits, not {short_name!r}"
            )
        namespace = Namespace(self, short_name, f"10.77.{host // 256}.{host % 256}")
        run("ip", "netns", "add", namespace.name)
        self._namespaces.append(namespace)
        namespace.configure(open_ports)
        return namespace

    def packets_to_api_server(self) -> int:
        """How many packets the black hole at `API_SERVER_ADDRESS` has swallowed."""
        argv = ("ip", "netns", "exec", self.bridge_namespace, "iptables", "-nvxL", "INPUT")
        for line in run(*argv).splitlines():
            if API_SERVER_ADDRESS in line:
                return int(line.split()[0])
        raise LookupError("the bridge has no rule for the API server's address")


def namespaces_named(prefix: str) -> list[str]:
    """The namespaces on this machine whose name begins with `prefix`."""
    return sorted(path.name for path in Path("/run/netns").glob(f"{prefix}*"))
