"""A Postgres client with a TLS of its own: the wheel `psycopg2-binary` carries libpq and libssl.

Usage: postgres_client.py --host NAME --ca FILE [--port N] SIZE...     Sends one query of each SIZE in bytes and wants it back.
Prints one JSON line.
"""

import argparse

import psycopg2

import common


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
    libpq = psycopg2.extensions.libpq_version()
    connection.close()
    common.report("postgres_client", psycopg2=psycopg2.__version__.split()[0], libpq=libpq)


if __name__ == "__main__":
    main()
