#!/bin/sh
# Makes the Python environment of the end-to-end tests and the demo, once.
#
#   tests/e2e/make-venv.sh [DIR]      default: <workspace>/target/venv; PYTHON names the interpreter, default python3
#
# Enters: requirements.txt, pinned by version and hash. Leaves: DIR/bin/python with the vendors' clients, and a broker and a
# collector beside it. Idempotent: the
# stamp inside DIR names the requirements and the interpreter and is written last, so
# that a broken download is not taken for a finished one. Prints the interpreter's path.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
venv=${1:-$here/../../target/venv}
python=${PYTHON:-python3}

mkdir -p "$(dirname -- "$venv")"
venv=$(CDPATH='' cd -- "$(dirname -- "$venv")" && pwd)/$(basename -- "$venv")
stamp=$( (cat "$here/requirements.txt"; "$python" -c 'import sys; print(sys.version, sys.base_prefix)') | sha256sum | cut -d' ' -f1)

# Two callers at once: the second waits, and then finds the work done.
exec 9>"$venv.lock"
flock 9

if [ "$(cat "$venv/.stamp" 2>/dev/null || true)" != "$stamp" ]; then
    if [ -e "$venv" ] && [ ! -f "$venv/pyvenv.cfg" ]; then
        echo "$venv is there and is no Python environment: name a folder that may be replaced" >&2
        exit 2
    fi
    echo "making the Python environment in $venv" >&2
    rm -rf "$venv"
    "$python" -m venv "$venv" >&2
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: \
        --requirement "$here/requirements.txt" >&2
    echo "$stamp" >"$venv/.stamp"
fi
echo "$venv/bin/python"
