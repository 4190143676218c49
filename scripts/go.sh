# Sourced after common.sh by the scripts that build programs from Go modules into .tools/. They share Go's own build
# cache, and may run side by side: what one builds, another waits for.

# missing FILE: whether this program has yet to be built; waits while another script builds it.
missing() {
    [ ! -x "$1" ] || return 1
    mkdir -p "$root/.tools"
    # Held by this script until it asks for the next one, or ends.
    exec 9>"$root/.tools/.$(basename "$(dirname "$1")").lock"
    flock 9
    [ ! -x "$1" ] || return 1
    need_go
}

# need_go: Go 1.26 or later in PATH, or the end with a sentence.
need_go() {
    command -v go >/dev/null 2>&1 || fail "not run: needs Go >= 1.26, and there is no go in PATH (https://go.dev/dl/)."
    go_minor=$(go env GOVERSION | sed -n 's/^go1\.\([0-9]*\).*/\1/p')
    [ "${go_minor:-0}" -ge 26 ] || fail "not run: needs Go >= 1.26, this is $(go env GOVERSION) (https://go.dev/dl/)."
}

# go_build TARGET LDFLAGS GO.MOD-LINES PACKAGE@VERSION...: builds each package into the directory TARGET, whole or not at all.
# In a module of its own, so that it gets the dependencies it was released with. A directory instead of PACKAGE@VERSION holds
# a program of ours, which is built against the modules named before it.
go_build() (
    target=$1 ldflags=$2 lines=$3
    shift 3
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    trap 'exit 130' INT TERM
    # local: the toolchain at hand, never one that the module asks to be downloaded.
    export GOTOOLCHAIN=local CGO_ENABLED=0
    printf 'module tools\n\ngo 1.26\n%s\n' "$lines" >"$work/go.mod"
    modules="" packages=""
    for one in "$@"; do
        case "$one" in
        *@*) modules="$modules $one" packages="$packages ${one%@*}" ;;
        *) cp -r "$one" "$work/" && own="./$(basename "$one")" ;;
        esac
    done
    packages=${own:-$packages}
    mkdir "$work/bin"
    again go_get_and_build >"$work/log" 2>&1 || {
        tail -n 20 "$work/log" >&2
        fail "the build of $* failed; the lines above say why. Is proxy.golang.org reachable?"
    }
    rm -rf "$target"
    mkdir -p "$(dirname "$target")"
    mv "$work/bin" "$target"
)

# go_get_and_build: what go_build does in its module.
go_get_and_build() {
    # shellcheck disable=SC2086 # lists of words
    (cd "$work" && go get -tool $modules && go build -trimpath -buildvcs=false -ldflags "-s -w $ldflags" -o bin/ $packages)
}

# kubernetes_build TARGET VERSION PROGRAM...: builds programs of Kubernetes into TARGET.
kubernetes_build() {
    kubernetes_target=$1 kubernetes=$2
    shift 2
    # Kubernetes takes its libraries from its own tree; outside of it they are modules, v0.x for v1.x.
    upstream=$(cd / && again env GOTOOLCHAIN=local GOFLAGS=-mod=mod go mod download -json "k8s.io/kubernetes@v$kubernetes" |
        sed -n 's/.*"GoMod": "\(.*\)".*/\1/p' | tail -n 1)
    [ -n "$upstream" ] || fail "k8s.io/kubernetes@v$kubernetes could not be downloaded. Is proxy.golang.org reachable?"
    staging=$(sed -n "s,^[[:space:]]*\(replace \)*\(k8s.io/[a-z-]*\) => ./staging/.*,replace \2 => \2 v0.${kubernetes#1.},p" "$upstream")
    minor=${kubernetes#1.}
    # kubectl and helm compare with what the server says its version is.
    package=k8s.io/component-base/version
    flags="-X $package.gitVersion=v$kubernetes -X $package.gitMajor=1 -X $package.gitMinor=${minor%%.*}"
    for one in "$@"; do
        shift
        set -- "$@" "k8s.io/kubernetes/cmd/$one@v$kubernetes"
    done
    go_build "$kubernetes_target" "$flags" "$staging" "$@"
}
