"""Invented personal data and credentials, valid for their checksums and for nothing else.

Enters: nothing. Leaves: strings that a scanner must take for real. They are computed and not written down, so that no
literal credential stands in the repository and every value is plainly ours.
"""

import base64
import hashlib
import zlib

BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

EMAIL = "maria.keller@outflow-demo-shop.com"


def _noise(label: str) -> bytes:
    return hashlib.sha512(f"outflow invented {label}".encode()).digest()


def card_number(first_digits: str = "492918273645564") -> str:
    """A card number in groups of four: the digits and the Luhn check digit (ISO/IEC 7812-1, annex B)."""
    total = 0
    for position, digit in enumerate(reversed(first_digits)):
        value = int(digit) * (2 if position % 2 == 0 else 1)
        total += value - 9 if value > 9 else value
    digits = first_digits + str(-total % 10)
    return " ".join(digits[at : at + 4] for at in range(0, len(digits), 4))


def aws_access_key_id() -> str:
    """AKIA and 16 base32 characters. Their first 40 bits after the type bit are an account number below 10^12."""
    account = 123_456_789_012
    body = (account << 7 | 0b101_0101).to_bytes(6, "big") + _noise("aws key")[:4]
    return "AKIA" + base64.b32encode(body).decode()


def aws_secret_access_key() -> str:
    """40 characters of base64."""
    return base64.b64encode(_noise("aws secret")[:30]).decode()


def github_token() -> str:
    """ghp_, 30 characters, and their CRC-32 in six base62 digits (github.blog, 2021-04-05, "Behind GitHub's new
    authentication token formats")."""
    body = "".join(BASE62[byte % 62] for byte in _noise("github")[:30])
    checksum, digits = zlib.crc32(body.encode()), ""
    for _ in range(6):
        checksum, digit = divmod(checksum, 62)
        digits = BASE62[digit] + digits
    return "ghp_" + body + digits
