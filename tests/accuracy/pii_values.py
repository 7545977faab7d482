"""Personal data by entity, but for national ids. Enters: chance. Leaves: invented values with valid check digits, in the forms in which
people write them. Sources: checks.py and the issuing offices' descriptions. Nothing is read from rules/."""

import checks
from chance import born, cut, until
from checks import mod_11_10, weighted
from national_values import bsn_body, mod11_pair, pan

FIRST = "Ada Grace Alan Edsger Barbara Donald Margaret Dennis Frances Linus Radia Niklaus Hedy Claude Karen Tim Sophie Jakob Ingrid Mateo Chiara Youssef Priya Wei Yuki".split()
LAST = "Lovelace Hopper Turing Dijkstra Liskov Knuth Hamilton Ritchie Allen Torvalds Perlman Wirth Lamarr Shannon Jones Berners Müller Rossi García Nowak Svensson Jansen Dubois Silva Sato".split()


def card(r):
    prefix, length, cuts = r.choice(
        [
            ("4", 16, (4, 4, 4)),
            (f"5{r.randint(1, 5)}", 16, (4, 4, 4)),
            (f"2{r.randint(3, 6)}", 16, (4, 4, 4)),
            (f"3{r.choice('47')}", 15, (4, 6)),
            ("6011", 16, (4, 4, 4)),
            ("65", 16, (4, 4, 4)),
            ("36", 14, (4, 6)),
            (f"35{r.randint(3, 8)}", 16, (4, 4, 4)),
        ]
    )
    body = prefix + r.digits(length - 1 - len(prefix))
    number = body + checks.luhn(body)
    return r.one(number, number, cut(number, *cuts), cut(number, *cuts, by="-"))


def track2(r):
    body = "4" + r.digits(14)
    return f";{body}{checks.luhn(body)}={r.randint(27, 32)}{r.randint(1, 12):02d}101{r.digits(10)}?"


IBANS = {
    "DE": "<d18>",
    "FR": "<d10><N11><d2>",
    "GB": "<C4><d14>",
    "NL": "<C4><d10>",
    "ES": "<d20>",
    "IT": "<C1><d10><N12>",
    "BE": "<d12>",
    "CH": "<d5><N12>",
    "AT": "<d16>",
    "PL": "<d24>",
    "SE": "<d20>",
    "NO": "<d11>",
    "DK": "<d14>",
    "PT": "<d21>",
    "IE": "<C4><d14>",
    "FI": "<d14>",
    "CZ": "<d20>",
    "RO": "<C4><N16>",
    "LU": "<d3><N13>",
    "TR": "<d6><N16>",
    "SA": "<d2><N18>",
    "AE": "<d19>",
    "GR": "<d7><N16>",
    "HU": "<d24>",
}


def iban(r):
    country = r.choice(list(IBANS))
    body = r.shape(IBANS[country])
    check = 98 - int("".join(str(int(c, 36)) for c in body + country + "00")) % 97
    text = f"{country}{check:02d}{body}"
    return r.one(text, " ".join(text[at : at + 4] for at in range(0, len(text), 4)))


def bic(r):
    return r.shape("<C4>") + r.one("DE", "FR", "GB", "NL", "US", "CH") + r.shape("<N2>") + r.one("", "XXX", r.digits(3))


def aba(r):
    def make():
        body = f"{r.randint(1, 12):02d}" + r.digits(6)
        return body + str(-weighted(body, (3, 7, 1, 3, 7, 1, 3, 7)) % 10)

    return make()


def vat(r):
    def dutch():
        body = until(lambda: bsn_body(r))
        return f"NL{body}B0{r.randint(1, 9)}"

    def french():
        siren = r.digits(8)
        siren += checks.luhn(siren)
        return f"FR{(12 + 3 * (int(siren) % 97)) % 97:02d}{siren}"

    def german():
        body = r.one(*"123456789") + r.digits(7)
        return "DE" + body + mod_11_10(body)

    def italian():
        body = r.digits(7) + f"{r.randint(1, 100):03d}"
        return "IT" + body + checks.luhn(body)

    def belgian():
        body = "0" + r.one(*"456789") + r.digits(6)
        return f"BE{body}{97 - int(body) % 97:02d}"

    return r.choice([dutch, french, german, italian, belgian])()


def abn(r):
    def make():
        rest = r.digits(9)
        for front in range(10, 100):
            text = f"{front}{rest}"
            if (weighted(text, (10, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19)) - 10) % 89 == 0:
                return text
        return None

    text = until(make)
    return r.one(text, cut(text, 2, 3, 3))


def acn(r):
    body = r.digits(8)
    text = body + str(-weighted(body, (8, 7, 6, 5, 4, 3, 2, 1)) % 10)
    return r.one(text, cut(text, 3, 3))


def gstin(r):
    body = f"{r.randint(1, 37):02d}{pan(r)}{r.randint(1, 9)}Z"
    total = 0
    for at, value in enumerate(checks.numbers(body)):
        product = value * (1, 2)[at % 2]
        total += product // 36 + product % 36
    return body + "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"[-total % 36]


def cnpj(r):
    text = mod11_pair(r.digits(8) + "0001", (5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2), (6, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2))
    return r.one(
        text, f"{text[:2]}.{text[2:5]}.{text[5:8]}/{text[8:12]}-{text[12:]}", f"{text[:2]}.{text[2:5]}.{text[5:8]}/{text[8:12]}-{text[12:]}"
    )


def ein(r):
    return f"{r.choice(['12', '20', '27', '36', '45', '52', '61', '74', '83', '94'])}-{r.digits(7)}"


def isin(r):
    body = r.one("US", "DE", "FR", "GB", "CH", "JP", "NL") + "0" + r.shape("<N2><d6>")
    return body + checks.luhn_letters(body)


def lei(r):
    body = r.digits(4) + "00" + r.shape("<N12>")
    return body + checks.mod_97_10(body)


def bitcoin(r):
    if r.random() < 0.5:
        return checks.base58check(r.one(b"\x00", b"\x05") + r.randbytes(20))
    from secret_values import bech32

    bits = "".join(f"{byte:08b}" for byte in r.randbytes(20))
    return bech32("bc", [0] + [int(bits[at : at + 5], 2) for at in range(0, 160, 5)])


def monero(r):
    data = b"\x12" + r.randbytes(64)
    data += checks.keccak256(data)[:4]
    text = ""
    for start in range(0, len(data), 8):
        chunk, number, part = data[start : start + 8], 0, ""
        number = int.from_bytes(chunk, "big")
        for _ in range({8: 11, 5: 7}[len(chunk)]):
            number, rest = divmod(number, 58)
            part = checks.BASE58[rest] + part
        text += part
    return text


def email(r):
    first, last = r.choice(FIRST).lower(), r.choice(LAST).lower().replace("ü", "ue").replace("í", "i")
    return (
        r.one(f"{first}.{last}", f"{first[0]}{last}", f"{first}_{last}{r.randint(1, 99)}", f"{first}+shop")
        + "@"
        + r.one("gmail.com", "web.de", "acme-mail.io", "orange.fr", "uni-heidelberg.de", "mail.acme.co.uk", "proton.me", "empresa.com.br")
    )


def phone(r):
    area = r.choice(["212", "415", "646", "312", "206", "702"])
    line = f"{r.randint(2, 9)}{r.choice(['36', '47', '82'])}"
    us = r.one(
        f"+1 {area} {line} {r.digits(4)}",
        f"+1{area}{line}{r.digits(4)}",
        f"({area}) {line}-{r.digits(4)}",
        f"{area}-{line}-{r.digits(4)}",
        f"{area}.{line}.{r.digits(4)}",
        f"+1-{area}-{line}-{r.digits(4)}",
        f"+1 ({area}) {line}-{r.digits(4)}",
    )
    other = r.one(
        f"+44 20 7{r.digits(3)} {r.digits(4)}",
        f"+447{r.digits(9)}",
        f"+49 30 {r.digits(8)}",
        f"+49 151 {r.digits(8)}",
        f"+49 (0)89 {r.digits(6)}",
        f"+33 6 {cut(r.digits(8), 2, 2, 2)}",
        f"+331{r.digits(8)}",
        f"+34 6{r.digits(2)} {r.digits(3)} {r.digits(3)}",
        f"+39 347 {r.digits(7)}",
        f"+91 98{r.digits(8)}",
        f"+55 11 9{r.digits(4)}-{r.digits(4)}",
        f"+81 90-{r.digits(4)}-{r.digits(4)}",
        f"+61 4{r.digits(2)} {r.digits(3)} {r.digits(3)}",
        f"0049 171 {r.digits(7)}",
        f"020 7{r.digits(3)} {r.digits(4)}",
        f"07{r.digits(3)} {r.digits(6)}",
        f"06 {cut(r.digits(8), 2, 2, 2)}",
        f"030/{r.digits(7)}",
        f"0171-{r.digits(7)}",
    )
    return r.one(us, other)


def postcode(r):
    return f"{r.choice(['SW1A', 'EC1V', 'M1', 'B33', 'CR2', 'DN55', 'W1A', 'LS6'])} {r.randint(1, 9)}{r.choice(['AA', 'HQ', 'TH', 'XH', 'PT', 'BB'])}"


def address(r):
    return r.one(
        f"{r.randint(1, 9999)} {r.choice(['Maple', 'Oak', 'Elm', 'Harbor', 'Sunset'])} {r.choice(['Street', 'Avenue', 'Rd', 'Blvd', 'Lane', 'Dr', 'St'])}",
        f"{r.choice(['Hauptstraße', 'Lindenweg', 'Goethestr.', 'Bahnhofstrasse', 'Schillerplatz'])} {r.randint(1, 180)}",
        f"{r.randint(1, 250)} rue {r.choice(['de Rivoli', 'Victor Hugo', 'des Lilas'])}",
        f"Calle {r.choice(['Mayor', 'de Alcalá'])} {r.randint(1, 99)}",
    )


def coordinates(r):
    return f"{r.uniform(-66, 66):.5f}, {r.uniform(-170, 170):.5f}"


def birthday(r):
    return born(r, r.one("%Y-%m-%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y"))


def ipv4(r):
    return f"{r.choice([8, 23, 34, 52, 81, 93, 104, 151, 185, 217])}.{r.randint(0, 255)}.{r.randint(0, 255)}.{r.randint(1, 254)}"


def ipv6(r):
    return r.one(
        f"2a02:{r.shape('<h4>:<h4>:<h4>:<h4>:<h4>:<h4>:<h4>')}",
        f"2a01:4f8:{r.shape('<h3>:<h4>')}::{r.shape('<h1>')}",
        f"2600:1f18:{r.shape('<h4>')}::{r.shape('<h4>')}",
    )


def mac(r):
    by = r.one(":", ":", "-")
    text = by.join(["00", r.shape("<h2>")] + [r.shape("<h2>") for _ in range(4)])
    return r.one(text, text.upper())


def imei(r):
    body = "35" + r.digits(12)
    return body + checks.luhn(body)


def iccid(r):
    body = "89" + r.choice(["49", "44", "33", "01"]) + r.digits(14)
    return body + checks.luhn(body)


VIN = dict(zip("ABCDEFGHJKLMNPRSTUVWXYZ", (1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 7, 9, 2, 3, 4, 5, 6, 7, 8, 9)))


def vin(r):
    text = (
        r.choice(["1HG", "JTD", "WVW", "1FT", "5YJ"])
        + "".join(r.choice("ABCDEFGHJKLMNPRSTUVWXYZ0123456789") for _ in range(5))
        + "0"
        + "".join(r.choice("ABCDEFGHJKLMNPRSTVWXY123456789") for _ in range(1))
        + r.shape("<C1>").replace("I", "A").replace("O", "A").replace("Q", "A")
        + r.digits(6)
    )
    total = sum((int(c) if c.isdigit() else VIN[c]) * w for c, w in zip(text, (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2)))
    return text[:8] + "0123456789X"[total % 11] + text[9:]


def npi(r):
    body = r.one("1", "2") + r.digits(8)
    return body + checks.luhn("80840" + body)


def dea(r):
    body = r.digits(6)
    d = checks.numbers(body)
    return r.one(*"ABFGM") + r.shape("<C1>") + body + str((d[0] + d[2] + d[4] + 2 * (d[1] + d[3] + d[5])) % 10)


def mbi(r):
    letters = "ACDEFGHJKMNPQRTUVWXY"
    a, n, d = (lambda: r.choice(letters)), (lambda: r.choice(letters + "0123456789")), (lambda: r.digits(1))
    text = r.one(*"123456789") + a() + n() + d() + a() + n() + d() + a() + a() + d() + d()
    return r.one(text, cut(text, 4, 3, by="-"))


def nhs(r):
    def make():
        body = r.one(*"4567") + r.digits(8)
        check = 11 - weighted(body, range(10, 1, -1)) % 11
        return body + str(check % 11) if check != 10 else None

    text = until(make)
    return r.one(text, cut(text, 3, 3), cut(text, 3, 3, by="-"))


def kvnr(r):
    letter, body = r.choice("ABDGHKLMNRST"), r.digits(8)
    digits = f"{ord(letter) - 64:02d}{body}"
    check = sum(sum(divmod(int(d) * (1, 2)[at % 2], 10)) for at, d in enumerate(digits)) % 10
    return f"{letter}{body}{check}"


def name(r):
    return f"{r.choice(FIRST)} {r.choice(LAST)}"
