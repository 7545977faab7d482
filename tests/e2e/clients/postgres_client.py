"""A Postgres client with a TLS of its own: the wheel `psycopg2-binary` carries libpq and libssl.

Usage: postgres_client.py --host NAME --ca FILE [--port N] SIZE...     Sends one query of each SIZE in bytes and wants it back.
Prints one JSON line.
"""

import argparse
import ctypes

import psycopg2

import common


def bundled_openssl() -> str:
    """The version of the library that came with the wheel; Python has one of its own."""
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
        paths = {line.split(None, 5)[5].strip() for line in maps if "psycopg2_binary.libs/libcrypto" in line}
    version = ctypes.CDLL(paths.pop()).OpenSSL_version
    version.restype = ctypes.c_char_p
    return version(0).decode().split()[1]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", required=True)
    parser.add_argument("--ca", required=True)
    parser.add_argument("--port", type=int, default=443)
    parser.add_argument("sizes", nargs="+", type=int)
    args = parser.parse_args()
    connection = psycopg2.connect(
        host=args.host,
        port=args.port,
        user="outflow",
        dbname="vectors",
        sslmode="verify-full",
        sslrootcert=args.ca,
        gssencmode="disable",
    )
    connection.autocommit = True  # else a BEGIN goes first, and the server answers each query with a row
    with connection.cursor() as cursor:
        for size in args.sizes:
            query = "SELECT '" + "x" * (size - 9) + "'"
            cursor.execute(query)
            common.check(cursor.fetchone() == (query,), f"the query of {size} bytes did not come back")
    connection.close()
    version = f"{psycopg2.__version__.split()[0]}, libpq {psycopg2.extensions.libpq_version() // 10000}"
    common.report("postgres_client", version=version, tls=bundled_openssl())


if __name__ == "__main__":
    main()
