"""Eight real containerds pull one new image: what the registry sends, and when the last node has it.

A part is named VERSION-herds-CASE-IMAGE (`2.2.6-herds-cold-4x25MB`), VERSION-no-mirror, VERSION-newcomer
or VERSION-faults-FAULT (`2.2.6-faults-mirror-killed`); the beginning of such a name, up to a hyphen, is all
of them.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from benchmarks.harness import Bench, run
from e2e import herds
from e2e.herd_faults import FAULTS, FaultResult, HerdFault, play, play_slow_registry, play_wrong_credentials
from e2e.herds import Herd, HerdResult, Links
from lab import images
from lab.cluster import Lab
from lab.containerd import containerd_versions

VERSIONS = ("1.6.20", "2.1.4", "2.2.6")
NODES = 8
LINKS = Links(registry=200.0, node=400.0)
MB = 1_000_000

IMAGES = {"4 x 25 MB": [25 * MB] * 4, "1 x 100 MB": [100 * MB], "20 x 5 MB": [5 * MB] * 20}
FAULT_LAYER = 100 * MB
SLOW_LINKS = Links(registry=2.0, node=400.0)
SLOW_PARTS = 12
"""The slow registry's image is smaller by this: at 2 Mbit/s the other one would take seven minutes."""

NEWCOMER_NODES = 5
NEWCOMER_BASE = [30 * MB] * 9
NEWCOMER_TOP = 300_000
NEWCOMER_LINKS = Links(registry=100.0, node=100.0)
NEWCOMER_LEAD = 1.0
"""Seconds before the others: as a rule it is told to fetch the new layer, and has asked for all else too."""

NEWCOMER_ROUNDS = 4
NEWCOMER_SECONDS = 3.0
"""Until those who lack one small layer have it: a second until its slot is made, and the layer."""

MAX_EGRESS = 1.05
MAX_EGRESS_AT_FAULT = 2.0
MAX_EGRESS_WHEN_SLOW = 1.1
COLD_SECONDS = 6.5
WARM_SECONDS = 5.0


class Meter:
    """Processor time of all that takes part, over a block."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab

    def __enter__(self) -> Meter:
        self._before = self._read()
        return self

    def __exit__(self, *_: object) -> None:
        after = self._read()
        self.ours, self.containerd, self.clients, self.busy, self.idle = (
            later - earlier for later, earlier in zip(after, self._before, strict=True)
        )

    def describe(self) -> str:
        """Return where it went, in a line."""
        return (
            f"CPU s: mirrors {self.ours:.1f}, containerds {self.containerd:.1f}, ctr {self.clients:.1f}, "
            f"all {self.busy:.1f}, idle {self.idle:.1f}"
        )

    def _read(self) -> tuple[float, ...]:
        nodes = self._lab.nodes
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        ticks = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
        idle = ticks[3] + ticks[4]
        return (
            sum(node.cpu_seconds() for node in nodes),
            sum(node.containerd.cpu_seconds() for node in nodes),
            children.ru_utime + children.ru_stime,
            (sum(ticks) - idle) / 100,
            idle / 100,
        )


class Round:
    """The herds of one containerd version: a lab with running nodes, and images that nobody had before."""

    def __init__(self, bench: Bench, lab: Lab) -> None:
        self._bench = bench
        self._lab = lab
        self._version = lab.build.version
        self._number = 0

    def pull(
        self,
        sizes: Sequence[int],
        *,
        apart: float = 0.0,
        has_first: bool = False,
        links: Links | None = LINKS,
    ) -> HerdResult:
        """Let all nodes pull an image; with `has_first` the first node has had it for a while."""
        lab = self._lab
        self._number += 1
        image = images.image(self._bench.seed * 1000 + self._number, sizes)
        reference = lab.registry.push(image, f"herd/app{self._number}")
        if links is not None:
            herds.limit(lab, links)
        nodes = list(lab.nodes)
        if has_first:
            first = nodes.pop(0)
            first.containerd.pull(reference)
            for node in nodes:
                node.wait_holders(reference, first.name)
            lab.registry.forget()
        with Meter(lab) as meter, Herd(lab, image, reference) as herd:
            herd.begin(*nodes, apart=apart)
            herd.wait_ended()
        result = herd.result()
        self.spent = meter.describe()
        for node in lab.nodes:
            node.containerd.remove(reference)
        herds.lift(lab)
        return result

    def cold(self, what: str) -> None:
        """All at once."""
        name = f"{self._version}, {what}, all at once"
        result = self.pull(IMAGES[what])
        self._report(name, result)
        self._hold(name, result, COLD_SECONDS, MAX_EGRESS)

    def staggered(self, what: str) -> None:
        """One a second."""
        name = f"{self._version}, {what}, 1 s apart"
        result = self.pull(IMAGES[what], apart=1.0)
        self._report(name, result)
        self._hold(name, result, None, MAX_EGRESS)

    def warm(self, what: str) -> None:
        """One has it, the others pull."""
        name = f"{self._version}, {what}, one has it"
        result = self.pull(IMAGES[what], has_first=True)
        self._report(name, result)
        self._hold(name, result, WARM_SECONDS, 0.0)

    def _report(self, name: str, result: HerdResult) -> None:
        self._bench.figure(
            name,
            f"last node after {result.seconds:.2f} s, registry sent {result.egress:.3f} x, "
            f"longest pause {result.longest_pause:.2f} s; {self.spent}",
        )
        self._bench.at_most(f"{name}: pulls that failed", len(result.failed), 0)

    def _hold(self, name: str, result: HerdResult, seconds: float | None, egress: float) -> None:
        if seconds is not None:
            self._bench.at_most(f"{name}: last node, s", result.seconds, seconds)
        self._bench.at_most(f"{name}: blob bytes, sizes of the image", result.egress, egress)


CASES: dict[str, Callable[[Round, str], None]] = {
    "cold": Round.cold,
    "staggered": Round.staggered,
    "warm": Round.warm,
}


def measure_herds(bench: Bench, version: str) -> None:
    """Nothing goes wrong."""
    wanted = {
        what: [case for case in CASES if bench.wants(f"{version}-herds-{case}-{what.replace(' ', '')}")]
        for what in list(IMAGES)[: 1 if bench.is_short else None]
    }
    if not any(wanted.values()):
        return
    with Lab(nodes=NODES, containerd=version) as lab:
        herds.start(lab)
        round_ = Round(bench, lab)
        for what, cases in wanted.items():
            for case in cases:
                CASES[case](round_, what)


def measure_without_mirror(bench: Bench, version: str) -> None:
    """The same without us: every containerd finds no mirror at its port and asks the registry."""
    if not bench.wants(f"{version}-no-mirror"):
        return
    with Lab(nodes=NODES, containerd=version) as lab:
        round_ = Round(bench, lab)
        # What no mirror can be faster than here: the machine, with nothing that has to be waited for.
        cases = [(next(iter(IMAGES)), LINKS), *((what, None) for what in IMAGES)]
        for what, links in cases[: 1 if bench.is_short else None]:
            result = round_.pull(IMAGES[what], links=links)
            took = f"last node after {result.seconds:.2f} s, registry sent {result.egress:.3f} x"
            limits = "" if links else ", links without limits"
            bench.figure(f"{version}, {what}, all at once, no mirror{limits}", f"{took}; {round_.spent}")


def measure_newcomer(bench: Bench, version: str) -> None:
    """A roll-out with a node that lacks everything, and fetches the new layer for all."""
    if not bench.wants(f"{version}-newcomer"):
        return
    name = f"{version}, new layer of 300 kB with a fresh node"
    slowest, sent, failed = [], [], 0
    with Lab(nodes=NEWCOMER_NODES, containerd=version) as lab:
        herds.start(lab)
        fresh, *others = lab.nodes
        for number in range(1 if bench.is_short else NEWCOMER_ROUNDS):
            bench.progress(f"{name}, {number + 1}")
            seed = bench.seed * 1000 + 700 + number
            old, new = images.derived_images(seed, shared_layers=NEWCOMER_BASE, own_layers=[NEWCOMER_TOP])
            references = [
                lab.registry.push(one, f"newcomer/{what}{number}")
                for one, what in ((old, "old"), (new, "new"))
            ]
            for node in others:
                node.containerd.pull(references[0])
            for node in others:
                fresh.wait_holders(references[0], node.name)
            herds.limit(lab, NEWCOMER_LINKS)
            with Herd(lab, new, references[1]) as herd:
                herd.begin(fresh)
                herd.let_pass(NEWCOMER_LEAD)
                herd.begin(*others)
                herd.wait_ended()
            slowest.append(herd.result(others).seconds)
            sent.append(herd.result().blob_bytes / NEWCOMER_TOP)
            failed += len(herd.result().failed)
            herds.lift(lab)
            for node in lab.nodes:
                node.containerd.remove(*(references[1:] if node is fresh else references))
    times, sizes = (", ".join(f"{one:.2f}" for one in many) for many in (slowest, sent))
    bench.figure(name, f"those who lack nothing else after {times} s; registry sent {sizes} of it")
    bench.at_most(f"{name}: pulls that failed", failed, 0)
    bench.at_most(f"{name}: those who lack nothing else, s", max(slowest), NEWCOMER_SECONDS)
    bench.at_most(f"{name}: blob bytes, sizes of the new layer", max(sent), MAX_EGRESS)


def measure_faults(bench: Bench, version: str) -> None:
    """Something goes wrong half-way."""
    size = FAULT_LAYER // (4 if bench.is_short else 1)
    plays: dict[str, Callable[[Lab, int], FaultResult]] = {
        fault.name: partial(_play, fault=fault, size=size) for fault in FAULTS
    }
    plays["wrong credentials"] = partial(_play_wrong_credentials, size=size)
    plays["slow registry"] = partial(_play_slow_registry, size=size // SLOW_PARTS)
    wanted = {what: bench.wants(f"{version}-faults-{what.replace(' ', '-')}") for what in plays}
    if not any(wanted.values()):
        return
    with Lab(nodes=NODES, containerd=version) as lab:
        for number, (what, play_it) in enumerate(plays.items()):
            if not wanted[what]:
                continue
            lab.reset()
            herds.start(lab)
            bench.progress(f"{version}, {what}")
            result = play_it(lab, bench.seed * 1000 + 500 + number)
            limit = MAX_EGRESS_WHEN_SLOW if what == "slow registry" else MAX_EGRESS_AT_FAULT
            _report_fault(bench, f"{version}, {what}", result, limit)


def _play(lab: Lab, seed: int, *, fault: HerdFault, size: int) -> FaultResult:
    return play(lab, fault, seed=seed, layer_size=size, links=LINKS)


def _play_wrong_credentials(lab: Lab, seed: int, *, size: int) -> FaultResult:
    return play_wrong_credentials(lab, seed=seed, layer_sizes=[size // 4] * 4, links=LINKS)


def _play_slow_registry(lab: Lab, seed: int, *, size: int) -> FaultResult:
    return play_slow_registry(lab, seed=seed, layer_sizes=[size // 4] * 4, links=SLOW_LINKS)


def _report_fault(bench: Bench, name: str, result: FaultResult, limit: float) -> None:
    herd = result.herd
    again = [*result.others_failed, *(["the victim"] if result.victim_began_again else [])]
    bench.figure(
        name,
        f"the others after {result.others_seconds:.2f} s, their longest pause {result.others_pause:.2f} s, "
        f"registry sent {herd.sent:.2f} x, began again: {', '.join(again) or 'nobody'}",
    )
    bench.at_most(f"{name}: pulls that failed", len(herd.failed), 0)
    if not result.had_hit_all:
        bench.at_most(f"{name}: others that began again", len(result.others_failed), 0)
    bench.at_most(f"{name}: all bytes sent, sizes of the image", herd.sent, limit)


def measure(bench: Bench) -> None:
    """Run every part on every containerd that is here."""
    # Eight containerds want more than two cores have: what else runs is part of the result.
    bench.figure("load average before", os.getloadavg()[0])
    here = containerd_versions()
    versions = [version for version in VERSIONS if version in here][: 1 if bench.is_short else None]
    for version in versions:
        for measure_part in (measure_herds, measure_without_mirror, measure_newcomer, measure_faults):
            measure_part(bench, version)


if __name__ == "__main__":
    run("herd", __doc__ or "", measure)
