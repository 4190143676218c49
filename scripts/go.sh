# Sourced after common.sh by the scripts that build programs from Go modules into .tools/.

# need_go: Go 1.26 or later in PATH, or the end with a sentence.
need_go() {
    command -v go >/dev/null 2>&1 || fail "not run: needs Go >= 1.26, and there is no go in PATH (https://go.dev/dl/)."
    minor=$(go env GOVERSION | sed -n 's/^go1\.\([0-9]*\).*/\1/p')
    [ "${minor:-0}" -ge 26 ] || fail "not run: needs Go >= 1.26, this is $(go env GOVERSION) (https://go.dev/dl/)."
}

# go_build TARGET LDFLAGS GO.MOD-LINES PACKAGE@VERSION...: builds each package into the directory TARGET, whole or not at all.
# In a module of its own, so that it gets the dependencies it was released with.
go_build() {
    target=$1 ldflags=$2 lines=$3
    shift 3
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    trap 'exit 130' INT TERM
    # local: the toolchain at hand, never one that the module asks to be downloaded.
    export GOTOOLCHAIN=local CGO_ENABLED=0
    printf 'module tools\n\ngo 1.26\n%s\n' "$lines" >"$work/go.mod"
    packages=""
    for one in "$@"; do
        packages="$packages ${one%@*}"
    done
    (
        cd "$work"
        # shellcheck disable=SC2086 # a list of words
        go get -tool "$@" &&
            mkdir bin &&
            go build -trimpath -buildvcs=false -ldflags "-s -w $ldflags" -o bin/ $packages
    ) >"$work/log" 2>&1 || {
        tail -n 20 "$work/log" >&2
        fail "the build of $* failed; the lines above say why. Is proxy.golang.org reachable?"
    }
    mkdir -p "$root/.tools"
    rm -rf "$target"
    mv "$work/bin" "$target"
}
