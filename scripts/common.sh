# Sourced by the scripts beside it: a virtual environment, system packages, clear words.
# Plain sh. Sets $root (the checkout) and $venv, and leaves the caller in $root.

set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
venv="$root/.venv"
cd "$root"

say() { printf '\033[1m==>\033[0m %s\n' "$*"; }
fail() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; exit 1; }

# again COMMAND...: tries it up to three times, a moment apart. For what comes from the network, which fails now and then.
again() {
    for again_in in 5 15; do
        "$@" && return 0
        say "failed, and tried again in $again_in s: $*" >&2
        sleep "$again_in"
    done
    "$@"
}

is_root() { [ "$(id -u)" -eq 0 ]; }

# need_cgroup_v1: the hierarchies of cgroup v1, in which the Kubernetes nodes of the tests live, or the end with a sentence.
need_cgroup_v1() {
    grep -q '^[0-9]*:[a-z,]*\bmemory\b' /proc/self/cgroup || fail "the nodes of tests/kube need the hierarchies of cgroup v1, and this \
machine has cgroup v2 alone. Boot it with systemd.unified_cgroup_hierarchy=0 (from systemd 256 on also \
SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1; 258 and later cannot), or use another: there is no way to have both from inside a container."
}

# need_packages PROGRAM=PACKAGE...: installs what is missing as root on Debian, else names it.
need_packages() {
    missing=""
    for pair in "$@"; do
        command -v "${pair%%=*}" >/dev/null 2>&1 || missing="$missing ${pair#*=}"
    done
    [ -n "$missing" ] || return 0
    if ! command -v apt-get >/dev/null 2>&1; then
        fail "missing:$missing (Debian's package names). Install them with your system's package manager and run this again."
    fi
    if ! is_root; then
        fail "missing:$missing. Run: sudo apt-get install$missing"
    fi
    say "installing$missing"
    # shellcheck disable=SC2086 # a list of words
    again apt_install --no-install-recommends $missing || fail "apt-get install$missing failed; run it by hand to see why."
}

# apt_install OPTION-OR-PACKAGE...: from lists that are fetched anew, because old ones name files that are gone.
apt_install() {
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$@" >/dev/null
}

# ensure_venv [run]: the checkout installed in $venv, with its development tools unless it is only run;
# quick when nothing changed.
ensure_venv() {
    wanted=${1:-dev}
    python=${PYTHON:-python3}
    command -v "$python" >/dev/null 2>&1 || need_packages "$python=python3"
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail "$("$python" --version) is too old: Python 3.11 or newer is needed. Set PYTHON to one."
    # Debian ships venv without ensurepip unless python3-venv is installed.
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        if is_root && command -v apt-get >/dev/null 2>&1; then
            say "installing python3-venv"
            again apt_install python3-venv || fail "apt-get install python3-venv failed; run it by hand to see why."
        else
            fail "Python's venv module is incomplete. Run: sudo apt-get install python3-venv"
        fi
    fi
    stamp="$venv/.installed"
    inputs=$(cat pyproject.toml hatch_build.py spegel_gossip/version.py spegel_gossip/stores/containerd/protos/*.proto | cksum)
    state="$root $inputs"
    have=$(cat "$stamp" 2>/dev/null || true)
    # What has the tools can be run too, and keeps them up to date whoever asks.
    [ -n "$have" ] && [ "${have% run}" = "$have" ] && wanted=dev
    [ "$wanted" = dev ] || state="$state run"
    [ "$have" != "$state" ] || return 0
    if [ "$wanted" = dev ]; then
        say "installing spegel-gossip and its development tools into .venv (a minute)"
        what='.[dev]'
    else
        say "installing spegel-gossip into .venv (a minute, once)"
        what=.
    fi
    [ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
    again "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -e "$what" ||
        fail "pip could not install the project; the lines above say why."
    printf '%s' "$state" >"$stamp"
}
