"""Check digits, for making values that hold and values that do not. Sources: ISO 7064, ISO 13616, ICAO 9303, BIP 173, EIP-55 and the
offices that issue the numbers. Written apart from the validators of the agent: an error would have to be made twice."""

import hashlib

D5 = [
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
    [1, 2, 3, 4, 0, 6, 7, 8, 9, 5],
    [2, 3, 4, 0, 1, 7, 8, 9, 5, 6],
    [3, 4, 0, 1, 2, 8, 9, 5, 6, 7],
    [4, 0, 1, 2, 3, 9, 5, 6, 7, 8],
    [5, 9, 8, 7, 6, 0, 4, 3, 2, 1],
    [6, 5, 9, 8, 7, 1, 0, 4, 3, 2],
    [7, 6, 5, 9, 8, 2, 1, 0, 4, 3],
    [8, 7, 6, 5, 9, 3, 2, 1, 0, 4],
    [9, 8, 7, 6, 5, 4, 3, 2, 1, 0],
]
PERMUTATION = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4]
INVERSE = [0, 4, 3, 2, 1, 5, 6, 7, 8, 9]


def numbers(text):
    return [int(c, 36) for c in text]


def weighted(text, weights):
    return sum(value * weight for value, weight in zip(numbers(text), weights))


def luhn(body):
    total = 0
    for at, digit in enumerate(reversed(numbers(body))):
        total += sum(divmod(digit * 2, 10)) if at % 2 == 0 else digit
    return str(-total % 10)


def luhn_letters(body):
    """ISIN: letters stand for two digits."""
    return luhn("".join(str(int(c, 36)) for c in body))


def verhoeff(body):
    check = 0
    for at, digit in enumerate(reversed(numbers(body)), 1):
        for _ in range(at % 8):
            digit = PERMUTATION[digit]
        check = D5[check][digit]
    return str(INVERSE[check])


def mod_11_10(body):
    check = 10
    for digit in numbers(body):
        check = (check + digit) % 10 or 10
        check = check * 2 % 11
    return str((11 - check) % 10)


def mod_11_2(body):
    check = 0
    for digit in numbers(body):
        check = (check + digit) * 2 % 11
    return "0123456789X"[(12 - check) % 11]


def mod_97_10(body):
    """Two check digits behind the body: LEI."""
    return f"{98 - int(''.join(str(int(c, 36)) for c in body + '00')) % 97:02d}"


def icao(body):
    """7-3-1 of ICAO 9303."""
    return str(sum((0 if c == "<" else int(c, 36)) * (7, 3, 1)[at % 3] for at, c in enumerate(body)) % 10)


def ean(body):
    return str(-sum(digit * (1, 3)[at % 2] for at, digit in enumerate(numbers(body))) % 10)


BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def base58check(payload):
    data = payload + hashlib.sha256(hashlib.sha256(payload).digest()).digest()[:4]
    number, text = int.from_bytes(data, "big"), ""
    while number:
        number, rest = divmod(number, 58)
        text = BASE58[rest] + text
    return "1" * (len(data) - len(data.lstrip(b"\0"))) + text


def rotate(value, by):
    return (value << by | value >> (64 - by)) & (1 << 64) - 1 if by else value


def keccak_f(a):
    register = 1
    for _ in range(24):
        c = [a[x][0] ^ a[x][1] ^ a[x][2] ^ a[x][3] ^ a[x][4] for x in range(5)]
        d = [c[(x + 4) % 5] ^ rotate(c[(x + 1) % 5], 1) for x in range(5)]
        a = [[a[x][y] ^ d[x] for y in range(5)] for x in range(5)]
        x, y, current = 1, 0, a[1][0]
        for t in range(24):
            x, y = y, (2 * x + 3 * y) % 5
            current, a[x][y] = a[x][y], rotate(current, (t + 1) * (t + 2) // 2 % 64)
        for y in range(5):
            row = [a[x][y] for x in range(5)]
            for x in range(5):
                a[x][y] = row[x] ^ (~row[(x + 1) % 5] & row[(x + 2) % 5] & (1 << 64) - 1)
        for j in range(7):
            register = ((register << 1) ^ ((register >> 7) * 0x71)) % 256
            if register & 2:
                a[0][0] ^= 1 << ((1 << j) - 1)
    return a


def keccak256(data):
    state = [[0] * 5 for _ in range(5)]
    data = data + b"\x01" + b"\0" * (-(len(data) + 1) % 136)
    data = data[:-1] + bytes([data[-1] | 0x80])
    for start in range(0, len(data), 136):
        for lane in range(17):
            state[lane % 5][lane // 5] ^= int.from_bytes(data[start + lane * 8 : start + lane * 8 + 8], "little")
        state = keccak_f(state)
    return b"".join(state[lane % 5][lane // 5].to_bytes(8, "little") for lane in range(4))


def ethereum(hexadecimal):
    digest = keccak256(hexadecimal.encode()).hex()
    return "0x" + "".join(c.upper() if int(digest[at], 16) >= 8 else c for at, c in enumerate(hexadecimal))
