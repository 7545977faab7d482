#!/bin/sh
# The program wget, which on Debian has GnuTLS below. A connection for each file: wget keeps none for a second POST.
#
# Usage: wget.sh CA PYTHON URL FILE...     POSTs each FILE. Prints one JSON line: its version and that of the TLS, which PYTHON asks for.
set -eu

ca=$1 python=$2 url=$3
shift 3
for file; do
    wget --quiet --no-config --ca-certificate="$ca" --output-document=/dev/null --tries=1 --method=POST --body-file="$file" \
        --header='content-type: application/json' --header='x-fixture: size=40000' "$url"
done
tls=$("$python" -c 'import ctypes
version = ctypes.CDLL("libgnutls.so.30").gnutls_check_version
version.restype = ctypes.c_char_p
print(version(None).decode())')
wget --version | sed -n "1s|^GNU Wget \([0-9.]*\) .*|{\"version\": \"\1\", \"tls\": \"$tls\"}|p"
