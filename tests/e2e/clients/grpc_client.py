"""gRPC through the BoringSSL that the wheel `grpcio` carries: log records to a collector.

Usage: grpc_client.py ADDRESS CA_FILE SIZE...

Sends one request a SIZE, each with one log record of that many bytes, over one channel, and closes it. Prints one JSON line.
"""

import json
import sys

import grpc

EXPORT = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"


def field(number: int, content: bytes) -> bytes:
    """A protobuf field of bytes."""
    length, varint = len(content), b""
    while length > 0x7F:
        varint += bytes([length & 0x7F | 0x80])
        length >>= 7
    return bytes([number << 3 | 2]) + varint + bytes([length]) + content


def request(body: bytes) -> bytes:
    """ExportLogsServiceRequest.resource_logs.scope_logs.log_records.body.string_value."""
    for number in (1, 5, 2, 2, 1):
        body = field(number, body)
    return body


def main() -> None:
    address, ca_file, *sizes = sys.argv[1:]
    with open(ca_file, "rb") as file:
        credentials = grpc.ssl_channel_credentials(file.read())
    answers = 0
    with grpc.secure_channel(address, credentials) as channel:
        export = channel.unary_unary(EXPORT)
        for size in sizes:
            answers += export(request(b"x" * int(size)), timeout=20) is not None
    print(json.dumps({"client": "grpc", "grpc": grpc.__version__, "library": grpc._cython.cygrpc.__file__, "answers": answers}))


if __name__ == "__main__":
    main()
