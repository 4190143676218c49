"""helm as scripts/build-helm leaves it, and what the chart renders with it."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.absent import not_run

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy" / "chart"
KUBERNETES = "1.34.1"

Objects = list[dict[str, Any]]
Render = Callable[..., Objects]


@pytest.fixture(scope="session")
def helm() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run helm with some arguments."""
    found = sorted(ROOT.glob(".tools/helm-*/helm"))
    if not found:
        not_run("helm is not here: scripts/build-helm")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        argv = [str(found[-1]), *arguments]
        return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60, cwd=ROOT)

    return run


@pytest.fixture(scope="session")
def render(helm: Callable[..., subprocess.CompletedProcess[str]]) -> Render:
    """Return the objects of a release called `mirror` in the namespace `images`."""

    def run(*arguments: str, key: str = "the-key") -> Objects:
        settings = ["--set", f"cluster.key.existingSecret={key}", *arguments]
        where = ["--namespace", "images", "--kube-version", KUBERNETES]
        done = helm("template", "mirror", str(CHART), *where, *settings)
        if done.returncode != 0:
            raise ValueError(done.stderr)
        return [one for one in yaml.safe_load_all(done.stdout) if one is not None]

    return run


@pytest.fixture(scope="session")
def promtool() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run promtool with some arguments."""
    program = shutil.which("promtool")
    if program is None:
        not_run("promtool is not here: apt-get install prometheus")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(program), *arguments], capture_output=True, text=True, check=False, timeout=60
        )

    return run
