"""National and tax ids. Enters: chance. Leaves: invented numbers with valid check digits, in the forms in which people write them.
Sources: checks.py and the issuing offices' descriptions. Nothing is read from rules/."""

import checks
from chance import born, cut, until
from checks import mod_11_10, weighted


def pan(r):
    return r.shape("<C3>") + r.one(*"PPPCHFATBLJG") + r.shape("<C1><d4><C1>")


def mod11_pair(body, first, second):
    for weights in (first, second):
        rest = weighted(body, weights) % 11
        body += "0" if rest < 2 else str(11 - rest)
    return body


def cpf(r):
    text = mod11_pair(r.digits(9), range(10, 1, -1), range(11, 1, -1))
    return r.one(text, f"{text[:3]}.{text[3:6]}.{text[6:9]}-{text[9:]}", f"{text[:3]}.{text[3:6]}.{text[6:9]}-{text[9:]}")


def ssn(r):
    area = until(lambda: (a := r.randint(1, 899)) != 666 and a or None)
    return f"{area:03d}-{r.randint(1, 99):02d}-{r.randint(1, 9999):04d}"


def itin(r):
    return f"9{r.digits(2)}-{r.choice([50, 58, 65, 70, 77, 88, 90, 92, 94, 99])}-{r.digits(4)}"


def sin(r):
    body = r.one(*"1234567") + r.digits(7)
    return r.one(cut(body + checks.luhn(body), 3, 3), cut(body + checks.luhn(body), 3, 3, by="-"), body + checks.luhn(body))


def nino(r):
    text = r.one("AB", "CE", "JG", "PX", "SH", "WL", "ZR", "MA") + r.digits(6) + r.one(*"ABCD")
    return r.one(text, cut(text, 2, 2, 2, 2))


def utr(r):
    body = r.digits(9)
    return "21987654321"[weighted(body, (6, 7, 8, 9, 10, 5, 4, 3, 2)) % 11] + body


def uk_licence(r):
    return f"{r.choice(['MORGA', 'SMITH', 'JONES', 'LOVEL', 'HOPPE'])}{r.randint(4, 9)}{r.choice(['01', '07', '12', '53', '60', '61'])}{r.randint(1, 28):02d}{r.randint(0, 9)}{r.shape('<C2>')}9{r.shape('<C2>')}"


def steuer_id(r):
    def make():
        digits = list("0123456789")
        r.shuffle(digits)
        digits[digits.index(r.choice(digits))] = r.choice(digits)
        text = "".join(digits)
        return text if text[0] != "0" and len(set(text)) == 9 else None

    body = until(make)
    text = body + mod_11_10(body)
    return r.one(text, cut(text, 2, 3, 3))


DE_SERIAL = "CFGHJKLMNPRTVWXYZ0123456789"


def ausweis(r):
    body = r.one(*"LMNPRTVWXY") + "".join(r.choice(DE_SERIAL) for _ in range(8))
    return body + checks.icao(body)


def de_pass(r):
    body = r.one(*"CFGHJK") + "".join(r.choice(DE_SERIAL) for _ in range(8))
    return body + checks.icao(body)


def rvnr(r):
    letter, serial = r.choice("ABDGHKLMNRST"), r.digits(2)
    body = f"{r.choice([12, 15, 23, 38, 53, 65])}{born(r, '%d%m%y')}"
    digits = body + f"{ord(letter) - 64:02d}" + serial
    check = sum(sum(divmod(int(d) * w, 10)) for d, w in zip(digits, (2, 1, 2, 5, 7, 1, 2, 1, 2, 1, 2, 1))) % 10
    text = f"{body}{letter}{serial}{check}"
    return r.one(text, cut(text, 2, 6, 1))


def nir(r):
    body = f"{r.one('1', '2')}{born(r, '%y%m')}{r.choice(['75', '13', '69', '2A', '33'])}{r.digits(6)}"
    number = int(body.replace("2A", "19"))
    text = f"{body}{97 - number % 97:02d}"
    return r.one(text, cut(text, 1, 2, 2, 2, 3, 3))


def fr_nif(r):
    body = r.one("0", "1", "2", "3") + r.digits(9)
    text = f"{body}{int(body) % 511:03d}"
    return r.one(text, cut(text, 2, 2, 3, 3))


ODD = dict(
    zip(
        "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ",
        (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23),
    )
)


def codice_fiscale(r):
    body = (
        r.choice(["RSSMRA", "BNCLCU", "VRDGPP", "LVLDAA"])
        + born(r, "%y")
        + r.one(*"ABCDEHLMPRST")
        + f"{r.one(0, 40) + r.randint(1, 28):02d}"
        + r.choice(["H501", "F205", "L219", "A944"])
    )
    total = sum(ODD[c] if at % 2 == 0 else (int(c) if c.isdigit() else ord(c) - 65) for at, c in enumerate(body))
    return body + chr(65 + total % 26)


def partita_iva(r):
    body = r.digits(7) + f"{r.randint(1, 100):03d}"
    return body + checks.luhn(body)


DNI = "TRWAGMYFPDXBNJZSQVHLCKE"


def dni(r):
    number = r.randint(10_000_000, 79_999_999)
    return f"{number}{r.one('', '-')}{DNI[number % 23]}"


def nie(r):
    front, rest = r.randint(0, 2), r.digits(7)
    return f"{'XYZ'[front]}{r.one('', '-')}{rest}{r.one('', '-')}{DNI[int(f'{front}{rest}') % 23]}".replace("--", "-")


def nuss(r):
    body = f"{r.choice(['08', '28', '41', '46'])}{r.randint(10_000_000, 99_999_999)}"
    text = f"{body}{int(body) % 97:02d}"
    return r.one(text, f"{text[:2]}/{text[2:10]}/{text[10:]}", cut(text, 2, 8))


def bsn_body(r):
    body = r.one(*"123456789") + r.digits(7)
    check = weighted(body, range(9, 1, -1)) % 11
    return body + str(check) if check < 10 else None


def bsn(r):
    return until(lambda: bsn_body(r))


def nrn(r):
    body = born(r, low=1940, high=1999) + f"{r.randint(1, 997):03d}"
    text = f"{body}{97 - int(body) % 97:02d}"
    return r.one(text, f"{text[:2]}.{text[2:4]}.{text[4:6]}-{text[6:9]}.{text[9:]}")


def lu_nin(r):
    body = born(r, "%Y%m%d") + r.digits(3)
    return body + checks.luhn(body) + checks.verhoeff(body)


def svnr(r):
    def make():
        serial, day = r.one(*"123456789") + r.digits(2), born(r, "%d%m%y")
        check = weighted(serial + day, (3, 7, 9, 5, 8, 4, 2, 1, 6)) % 11
        return f"{serial}{check}{r.one('', ' ')}{day}" if check < 10 else None

    return until(make)


def pesel(r):
    body = born(r, low=1940, high=1999) + r.digits(4)
    return body + str(-weighted(body, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3)) % 10)


def nip(r):
    def make():
        body = r.one(*"123456789") + r.digits(8)
        check = weighted(body, (6, 5, 7, 2, 3, 4, 5, 6, 7)) % 11
        return body + str(check) if check < 10 else None

    text = until(make)
    return r.one(text, cut(text, 3, 3, 2, by="-"))


def pt_nif(r):
    body = r.one("1", "2", "3", "5") + r.digits(7)
    check = 11 - weighted(body, range(9, 1, -1)) % 11
    return body + str(check if check < 10 else 0)


def rodne_cislo(r):
    def make():
        front = born(r, "%y") + f"{r.one(0, 50) + r.randint(1, 12):02d}{r.randint(1, 28):02d}" + r.digits(3)
        check = int(front) % 11
        return f"{front[:6]}/{front[6:]}{check}" if check < 10 else None

    return until(make)


def hu_tin(r):
    def make():
        body = "8" + r.digits(8)
        check = weighted(body, range(1, 10)) % 11
        return body + str(check) if check < 10 else None

    return until(make)


def cnp(r):
    body = r.one("1", "2") + born(r, low=1940, high=1999) + f"{r.randint(1, 46):02d}" + f"{r.randint(1, 999):03d}"
    return body + str(
        weighted(body, (2, 7, 9, 1, 4, 6, 3, 5, 8, 2, 7, 9)) % 11 % 10
        if weighted(body, (2, 7, 9, 1, 4, 6, 3, 5, 8, 2, 7, 9)) % 11 < 10
        else 1
    )


def egn(r):
    body = born(r, low=1940, high=1999) + r.digits(3)
    return body + str(weighted(body, (2, 4, 8, 5, 10, 9, 7, 3, 6)) % 11 % 10)


def emso(r):
    def make():
        body = born(r, "%d%m9%y", 1960, 1999)[:4] + "9" + born(r, "%y", 1960, 1999) + "50" + r.digits(3)
        check = 11 - weighted(body, (7, 6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2)) % 11
        return body + str(check % 11) if check != 10 else None

    return until(make)


def si_tin(r):
    def make():
        body = r.one(*"123456789") + r.digits(6)
        check = 11 - weighted(body, range(8, 1, -1)) % 11
        return body + str(check % 10) if check != 11 else None

    return until(make)


def oib(r):
    body = r.digits(10)
    return body + mod_11_10(body)


def isikukood(r):
    body = r.one("3", "4") + born(r, low=1940, high=1999) + r.digits(3)
    check = weighted(body, (1, 2, 3, 4, 5, 6, 7, 8, 9, 1)) % 11
    if check == 10:
        check = weighted(body, (3, 4, 5, 6, 7, 8, 9, 1, 2, 3)) % 11 % 10
    return body + str(check)


def latvian(r):
    body = born(r, "%d%m%y") + r.one("1", "2") + r.digits(3)
    check = (1 + weighted(body, (10, 5, 8, 4, 2, 1, 6, 3, 7, 9))) % 11
    return f"{body[:6]}-{body[6:]}{check}" if check < 10 else latvian(r)


def amka(r):
    body = born(r, "%d%m%y") + r.digits(4)
    return body + checks.luhn(body)


def afm(r):
    body = r.one("0", "1") + r.digits(7)
    return body + str(weighted(body, (256, 128, 64, 32, 16, 8, 4, 2)) % 11 % 10)


def pps(r):
    body = r.digits(7)
    second = r.one("", "A", "B")
    total = weighted(body, range(8, 1, -1)) + (9 * (ord(second) - 64) if second else 0)
    return body + "WABCDEFGHIJKLMNOPQRSTUV"[total % 23] + second


def hetu(r):
    day, serial = born(r, "%d%m%y", 1940, 1999), f"{r.randint(2, 899):03d}"
    return f"{day}-{serial}{'0123456789ABCDEFHJKLMNPRSTUVWXY'[int(day + serial) % 31]}"


def personnummer(r):
    body = born(r, low=1940, high=1999) + r.digits(3)
    text = body + checks.luhn(body)
    return r.one("", "19") + f"{text[:6]}-{text[6:]}"


def cpr(r):
    return f"{born(r, '%d%m%y')}-{r.digits(4)}"


def fodselsnummer(r):
    def make():
        body = born(r, "%d%m%y", 1940, 1999) + f"{r.randint(0, 499):03d}"
        for weights in ((3, 7, 6, 1, 8, 9, 4, 5, 2), (5, 4, 3, 2, 7, 6, 5, 4, 3, 2)):
            check = -weighted(body, weights) % 11
            if check == 10:
                return None
            body += str(check)
        return body

    text = until(make)
    return r.one(text, cut(text, 6))


def ahv(r):
    body = "756" + r.digits(9)
    text = body + checks.ean(body)
    return r.one(text, f"{text[:3]}.{text[3:7]}.{text[7:11]}.{text[11:]}", f"{text[:3]}.{text[3:7]}.{text[7:11]}.{text[11:]}")


def tckn(r):
    body = r.one(*"123456789") + r.digits(8)
    digits = checks.numbers(body)
    tenth = (sum(digits[0::2]) * 7 - sum(digits[1::2])) % 10
    return f"{body}{tenth}{(sum(digits) + tenth) % 10}"


def israeli(r):
    body = r.one("0", "2", "3") + r.digits(7)
    return body + checks.luhn(body)


def south_african(r):
    body = born(r) + r.digits(4) + r.one("0", "1") + "8"
    return body + checks.luhn(body)


def nigerian(r):
    body = r.one(*"123456789") + r.digits(9)
    return body + checks.verhoeff(body)


def aadhaar(r):
    body = r.one(*"23456789") + r.digits(10)
    text = body + checks.verhoeff(body)
    return r.one(text, cut(text, 4, 4), cut(text, 4, 4, by="-"))


def nric(r):
    first, body = r.one("S", "T", "F", "G"), r.digits(7)
    total = weighted(body, (2, 7, 6, 5, 4, 3, 2)) + (4 if first in "TG" else 0)
    return first + body + ("JZIHGFEDCBA" if first in "ST" else "XWUTRQPNMLK")[total % 11]


def uen(r):
    if r.random() < 0.5:
        body = r.digits(8)
        return body + "XMKECAWLJDB"[weighted(body, (10, 4, 9, 3, 8, 2, 7, 1)) % 11]
    body = f"20{r.randint(10, 25)}{r.digits(5)}"
    return body + "ZKCMDNERGWH"[weighted(body, (10, 8, 6, 4, 9, 7, 5, 3, 1)) % 11]


def chinese(r):
    body = r.choice(["110101", "310115", "440305", "330106"]) + born(r, "%Y%m%d") + r.digits(3)
    return body + checks.mod_11_2(body)


def hong_kong(r):
    letter, body = r.one(*"ABCDEGHKPRYZ"), r.digits(6)
    total = 36 * 9 + int(letter, 36) * 8 + weighted(body, (7, 6, 5, 4, 3, 2))
    return f"{letter}{body}({'0123456789A'[-total % 11]})"


def taiwanese(r):
    letter = r.one(*"ABCDEFGHJK")
    number = {"A": 10, "B": 11, "C": 12, "D": 13, "E": 14, "F": 15, "G": 16, "H": 17, "J": 18, "K": 19}[letter]
    body = r.one("1", "2") + r.digits(7)
    total = number // 10 + number % 10 * 9 + weighted(body, range(8, 0, -1))
    return f"{letter}{body}{-total % 10}"


def my_number(r):
    body = r.digits(11)
    rest = sum(int(d) * (n + 1 if n <= 6 else n - 5) for n, d in enumerate(reversed(body), 1)) % 11
    text = body + ("0" if rest <= 1 else str(11 - rest))
    return r.one(text, cut(text, 4, 4), cut(text, 4, 4, by="-"))


def rrn(r):
    body = born(r, low=1940, high=1999) + r.one("1", "2") + r.digits(5)
    text = body + str((11 - weighted(body, (2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5)) % 11) % 10)
    return f"{text[:6]}-{text[6:]}"


def brn(r):
    body = r.one(*"123456") + r.digits(8)
    total = weighted(body, (1, 3, 7, 1, 3, 7, 1, 3, 5)) + int(body[8]) * 5 // 10
    text = body + str(-total % 10)
    return f"{text[:3]}-{text[3:5]}-{text[5:]}"


def thai(r):
    body = r.one(*"12345678") + r.digits(11)
    text = body + str((11 - weighted(body, range(13, 1, -1)) % 11) % 10)
    return r.one(text, cut(text, 1, 4, 5, 2, by="-"))


def tfn(r):
    def make():
        text = r.one(*"123456789") + r.digits(8)
        return text if weighted(text, (1, 4, 3, 7, 5, 8, 6, 9, 10)) % 11 == 0 else None

    text = until(make)
    return r.one(text, cut(text, 3, 3))


def au_medicare(r):
    body = r.one(*"23456") + r.digits(7)
    text = body + str(weighted(body, (1, 3, 7, 9, 1, 3, 7, 9)) % 10) + r.one("1", "2", "3")
    return r.one(text, cut(text, 4, 5))


def ird(r):
    def make():
        body = str(r.randint(1_000_000, 14_999_999)).zfill(8)
        check = -weighted(body, (3, 2, 7, 6, 5, 4, 3, 2)) % 11
        return body.lstrip("0") + str(check) if check < 10 and body[0] != "0" else None

    text = until(make)
    return r.one(text, cut(text, 3, 3, by="-"))


def cuit(r):
    def make():
        body = r.one("20", "23", "27", "30") + r.digits(8)
        check = 11 - weighted(body, (5, 4, 3, 2, 7, 6, 5, 4, 3, 2)) % 11
        return f"{body[:2]}-{body[2:]}-{check % 11}" if check != 10 else None

    return until(make)


def rut(r):
    body = str(r.randint(5_000_000, 25_999_999))
    check = 11 - sum(int(d) * w for d, w in zip(reversed(body), (2, 3, 4, 5, 6, 7, 2, 3))) % 11
    last = {10: "K", 11: "0"}.get(check, str(check))
    dots = f"{int(body):,}".replace(",", ".")
    return r.one(f"{body}-{last}", f"{dots}-{last}")


def curp(r):
    body = (
        r.choice(["LOVA", "HOPG", "GARM", "SATY"])
        + born(r, low=1940, high=1999)
        + r.one("H", "M")
        + r.choice(["DF", "JC", "NL", "OC"])
        + r.choice(["RRN", "LVD", "PPR"])
        + "0"
    )
    alphabet = "0123456789ABCDEFGHIJKLMNÑOPQRSTUVWXYZ"
    return body + str(-sum((18 - at) * alphabet.index(c) for at, c in enumerate(body)) % 10)


def rfc(r):
    body = r.choice(["LOVA", "HOPG", "GARM", "SATY"]) + born(r, low=1940, high=1999) + r.shape("<N2>")
    alphabet = "0123456789ABCDEFGHIJKLMN&OPQRSTUVWXYZ Ñ"
    check = 11 - sum((13 - at) * alphabet.index(c) for at, c in enumerate(body)) % 11
    return body + {10: "A", 11: "0"}.get(check, str(check))


def mrz(r):
    number = r.shape("<C1><N8>")
    birth, expiry = born(r), f"{r.randint(27, 34)}{born(r, '%m%d')}"
    personal = "<" * 14
    line = f"{number}{checks.icao(number)}{r.choice(['D<<', 'USA', 'GBR', 'FRA'])}{birth}{checks.icao(birth)}{r.one('F', 'M')}{expiry}{checks.icao(expiry)}{personal}{checks.icao(personal)}"
    return line + checks.icao(line[:10] + line[13:20] + line[21:43])
