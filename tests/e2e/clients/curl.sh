#!/bin/sh
# The program curl, which on Debian has OpenSSL below.
#
# Usage: curl.sh CA URL FILE...     POSTs each FILE over one kept-alive connection. Prints one JSON line: its version and that of the TLS.
set -eu

ca=$1 url=$2
shift 2
# Between two requests stands --next, after which nothing is remembered.
first=
for file; do
    set -- "$@" $first --silent --show-error --fail --cacert "$ca" --output /dev/null --header expect: \
        --header 'x-fixture: size=40000' --header 'content-type: application/json' --data-binary "@$file" "$url"
    shift
    first=--next
done
curl "$@"
curl --version | sed -n '1s|^curl \([0-9.]*\) .* OpenSSL/\([0-9a-z.]*\) .*|{"version": "\1", "tls": "\2"}|p'
