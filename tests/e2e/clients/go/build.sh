#!/bin/sh
# Builds the Go client in the shapes in which Go programs are found, once.
#
#   tests/e2e/clients/go/build.sh [DIR]      default: <workspace>/target/go-client; GO names the compiler, default go
#
# Enters: the sources beside this script. Leaves: DIR/plain (as `go build` makes it), DIR/stripped (-s -w, without cgo), DIR/pie
# (-s -w, position-independent, with cgo where there is a C compiler) and DIR/debug (its TLS made for a debugger: -N -l). Standard
# library alone, so nothing is fetched.
# Idempotent: the stamp inside DIR names the sources and the compiler and is written last. Prints the folder.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
out=${1:-$here/../../../../target/go-client}
go=${GO:-go}

mkdir -p "$out"
out=$(CDPATH='' cd -- "$out" && pwd)
stamp=$( (cat "$here"/*.go "$here/go.mod" "$here/build.sh"; "$go" version) | sha256sum | cut -d' ' -f1)

# Two callers at once: the second waits, and then finds the work done.
exec 9>"$out/.lock"
flock 9

if [ "$(cat "$out/.stamp" 2>/dev/null || true)" != "$stamp" ]; then
    echo "building the Go client in $out" >&2
    rm -rf "$out/plain" "$out/stripped" "$out/pie" "$out/debug" "$out/.stamp"
    cgo=0
    if command -v gcc >/dev/null; then cgo=1; fi
    # The user's own settings and caches stay out of it; nothing may be fetched, not even another compiler.
    build() {
        (cd "$here" && env GOENV=off GOFLAGS= GOPROXY=off GOTOOLCHAIN=local GOTELEMETRY=off GOCACHE="$out/cache" "$@") >&2
    }
    build CGO_ENABLED=$cgo "$go" build -buildvcs=false -o "$out/plain" .
    build CGO_ENABLED=0 "$go" build -buildvcs=false -ldflags '-s -w' -o "$out/stripped" .
    build CGO_ENABLED=$cgo "$go" build -buildvcs=false -buildmode=pie -ldflags '-s -w' -o "$out/pie" .
    build CGO_ENABLED=0 "$go" build -buildvcs=false -gcflags 'crypto/tls=-N -l' -o "$out/debug" .
    echo "$stamp" >"$out/.stamp"
fi
echo "$out"
