"""Items that hold personal data: sentences in several languages, JSON, CSV, SQL, logs, chat. Enters: chance. Leaves: (entity, text,
[(start, end)]); and what looks like it and is not."""

import json

import checks
import national_values as n
import pii_values as p
import secret_negatives
from chance import SERVICES, WORDS, cut

VALUE = "@@VALUE@@"

# entity: (maker, labels in English and where the number is from, it needs no label)
ENTITIES = {
    "CREDIT_CARD": (p.card, ["credit card", "card number", "card", "Kreditkarte", "numéro de carte", "tarjeta"], True),
    "CARD_TRACK": (p.track2, ["track data", "magstripe"], True),
    "CVV": (lambda r: r.digits(3), ["CVV", "CVC", "security code", "cvv2"], False),
    "IBAN_CODE": (p.iban, ["IBAN", "bank account", "Kontonummer", "compte"], True),
    "SWIFT_BIC": (p.bic, ["BIC", "SWIFT", "SWIFT code", "bic code"], False),
    "ABA_ROUTING": (p.aba, ["routing number", "ABA", "ABA routing", "bank routing number"], False),
    "US_BANK_NUMBER": (
        lambda r: r.digits(r.randint(9, 12)),
        ["bank account number", "account number", "checking account", "account no"],
        False,
    ),
    "UK_BANK": (
        lambda r: f"{cut(r.digits(6), 2, 2, by='-')} {r.digits(8)}",
        ["sort code and account", "sort code", "bank details"],
        False,
    ),
    "VAT_NUMBER": (p.vat, ["VAT number", "VAT ID", "USt-IdNr.", "TVA", "partita IVA"], False),
    "AU_ABN": (p.abn, ["ABN", "Australian Business Number"], False),
    "AU_ACN": (p.acn, ["ACN", "Australian Company Number"], False),
    "IN_GSTIN": (p.gstin, ["GSTIN", "GST number", "gst"], True),
    "BR_CNPJ": (p.cnpj, ["CNPJ"], False),
    "US_EIN": (p.ein, ["EIN", "employer identification number", "Federal Tax ID"], False),
    "ISIN": (p.isin, ["ISIN", "security"], False),
    "LEI": (p.lei, ["LEI", "legal entity identifier"], False),
    "CRYPTO": (p.bitcoin, ["bitcoin address", "BTC", "wallet", "crypto wallet"], True),
    "ETHEREUM": (lambda r: checks.ethereum(r.shape("<h40>")), ["ETH address", "ethereum wallet", "wallet"], True),
    "MONERO": (p.monero, ["monero", "XMR wallet"], True),
    "US_SSN": (n.ssn, ["SSN", "social security number", "social security", "ssn"], True),
    "US_ITIN": (n.itin, ["ITIN", "taxpayer id", "individual taxpayer"], False),
    "US_PASSPORT": (lambda r: r.one(r.digits(9), r.shape("A<d8>")), ["US passport", "passport number", "passport"], False),
    "US_DRIVER_LICENSE": (
        lambda r: r.one(r.shape("<C1><d7>"), r.shape("<C1><d12>"), r.digits(9)),
        ["driver's license", "driver license", "drivers license number", "DL number"],
        False,
    ),
    "CA_SIN": (n.sin, ["SIN", "social insurance number"], False),
    "UK_NINO": (n.nino, ["NI number", "National Insurance", "NINO"], True),
    "UK_UTR": (n.utr, ["UTR", "unique taxpayer reference", "self assessment"], False),
    "UK_PASSPORT": (lambda r: r.digits(9), ["UK passport", "passport no", "passport"], False),
    "UK_DRIVING_LICENCE": (n.uk_licence, ["driving licence", "licence number"], True),
    "DE_TAX_ID": (n.steuer_id, ["Steuer-ID", "Steueridentifikationsnummer", "IdNr", "tax id"], False),
    "DE_ID_CARD": (n.ausweis, ["Personalausweis", "Ausweisnummer", "Personalausweisnummer"], False),
    "DE_PASSPORT": (n.de_pass, ["Reisepass", "Passnummer", "passport"], False),
    "DE_SOCIAL_SECURITY": (n.rvnr, ["Rentenversicherungsnummer", "Sozialversicherungsnummer", "RVNR"], False),
    "FR_NIR": (n.nir, ["numéro de sécurité sociale", "NIR", "sécurité sociale", "INSEE"], True),
    "FR_NIF": (n.fr_nif, ["numéro fiscal", "SPI", "NIF"], False),
    "IT_FISCAL_CODE": (n.codice_fiscale, ["codice fiscale", "CF"], True),
    "IT_VAT_CODE": (n.partita_iva, ["partita IVA", "P.IVA"], False),
    "ES_NIF": (n.dni, ["DNI", "NIF", "documento nacional"], False),
    "ES_NIE": (n.nie, ["NIE"], False),
    "ES_NUSS": (n.nuss, ["número de la seguridad social", "NUSS", "seguridad social"], False),
    "NL_BSN": (n.bsn, ["BSN", "burgerservicenummer", "sofinummer"], False),
    "NL_PASSPORT": (
        lambda r: r.shape("<C2>").replace("O", "N") + r.shape("<N6>").replace("O", "N") + r.digits(1),
        ["paspoort", "paspoortnummer"],
        False,
    ),
    "BE_NRN": (n.nrn, ["rijksregisternummer", "numéro national", "NISS", "INSZ"], False),
    "LU_NIN": (n.lu_nin, ["matricule", "numéro d'identification national", "CNS"], False),
    "AT_SVNR": (n.svnr, ["Sozialversicherungsnummer", "SVNR", "SV-Nummer"], False),
    "PL_PESEL": (n.pesel, ["PESEL", "numer PESEL"], False),
    "PL_NIP": (n.nip, ["NIP", "numer NIP"], False),
    "PT_NIF": (n.pt_nif, ["NIF", "contribuinte", "número de contribuinte"], False),
    "CZ_RC": (n.rodne_cislo, ["rodné číslo", "rodne cislo", "RČ"], False),
    "HU_TIN": (n.hu_tin, ["adóazonosító jel", "adóazonosító"], False),
    "RO_CNP": (n.cnp, ["CNP", "cod numeric personal"], False),
    "BG_EGN": (n.egn, ["ЕГН", "EGN"], False),
    "SI_EMSO": (n.emso, ["EMŠO", "EMSO"], False),
    "SI_TIN": (n.si_tin, ["davčna številka", "davcna stevilka"], False),
    "HR_OIB": (n.oib, ["OIB", "osobni identifikacijski broj"], False),
    "EE_ISIKUKOOD": (n.isikukood, ["isikukood", "asmens kodas"], False),
    "LV_CODE": (n.latvian, ["personas kods"], False),
    "GR_AMKA": (n.amka, ["ΑΜΚΑ", "AMKA"], False),
    "GR_AFM": (n.afm, ["ΑΦΜ", "AFM"], False),
    "IE_PPS": (n.pps, ["PPS number", "PPSN", "PPS"], False),
    "FI_HETU": (n.hetu, ["henkilötunnus", "HETU"], True),
    "SE_PERSONNUMMER": (n.personnummer, ["personnummer"], False),
    "DK_CPR": (n.cpr, ["CPR", "CPR-nummer", "personnummer"], False),
    "NO_FNR": (n.fodselsnummer, ["fødselsnummer", "fodselsnummer", "personnummer"], False),
    "CH_AHV": (n.ahv, ["AHV-Nummer", "AHV", "AVS"], True),
    "TR_TCKN": (n.tckn, ["TC kimlik no", "TCKN", "kimlik numarası"], False),
    "IL_ID": (n.israeli, ["teudat zehut", "ID number", "Israeli ID"], False),
    "ZA_ID": (n.south_african, ["South African ID", "ID number", "SA ID"], False),
    "NG_NIN": (n.nigerian, ["NIN", "National Identification Number"], False),
    "IN_AADHAAR": (n.aadhaar, ["Aadhaar", "aadhar number", "UIDAI"], False),
    "IN_PAN": (n.pan, ["PAN", "PAN card", "permanent account number"], False),
    "IN_VOTER": (lambda r: r.shape("<C3><d7>"), ["voter id", "EPIC number", "voter card"], False),
    "SG_NRIC_FIN": (n.nric, ["NRIC", "FIN", "NRIC number"], True),
    "SG_UEN": (n.uen, ["UEN", "unique entity number"], False),
    "CN_ID": (n.chinese, ["身份证", "身份证号", "resident ID"], True),
    "HK_ID": (n.hong_kong, ["HKID", "香港身份證"], True),
    "TW_ID": (n.taiwanese, ["身分證字號", "Taiwan ID"], False),
    "JP_MY_NUMBER": (n.my_number, ["マイナンバー", "個人番号", "My Number"], False),
    "KR_RRN": (n.rrn, ["주민등록번호", "RRN", "resident registration number"], True),
    "KR_BRN": (n.brn, ["사업자등록번호", "business registration number"], False),
    "TH_TNIN": (n.thai, ["เลขประจำตัวประชาชน", "Thai ID", "national ID"], False),
    "PH_TIN": (lambda r: cut(r.digits(12), 3, 3, 3, by="-"), ["TIN", "BIR TIN"], False),
    "AU_TFN": (n.tfn, ["TFN", "tax file number"], False),
    "AU_MEDICARE": (n.au_medicare, ["Medicare", "Medicare number", "medicare card"], False),
    "NZ_IRD": (n.ird, ["IRD", "IRD number"], False),
    "BR_CPF": (n.cpf, ["CPF"], False),
    "AR_CUIT": (n.cuit, ["CUIT", "CUIL"], False),
    "CL_RUT": (n.rut, ["RUT", "RUN"], False),
    "MX_CURP": (n.curp, ["CURP"], True),
    "MX_RFC": (n.rfc, ["RFC"], False),
    "MRZ": (n.mrz, ["MRZ", "machine readable zone"], True),
    "EMAIL_ADDRESS": (p.email, ["email", "e-mail", "mail", "Kontakt"], True),
    "PHONE_NUMBER": (p.phone, ["phone", "phone number", "Tel.", "mobile", "Telefon", "Handynummer", "téléphone"], False),
    "UK_POSTCODE": (p.postcode, ["postcode", "post code"], False),
    "STREET_ADDRESS": (p.address, ["address", "street address", "home address", "Adresse", "shipping address"], False),
    "GEO_COORDINATES": (p.coordinates, ["location", "coordinates", "GPS", "lat/lon"], False),
    "DATE_OF_BIRTH": (p.birthday, ["date of birth", "DOB", "birthday", "Geburtsdatum", "born", "date de naissance"], False),
    "PERSON": (p.name, ["name", "full name", "first and last name", "customer name"], False),
    "SOCIAL_HANDLE": (
        lambda r: f"@{r.choice(p.FIRST).lower()}_{r.choice(WORDS)}{r.digits(2)}",
        ["twitter", "instagram", "telegram handle", "tiktok"],
        False,
    ),
    "IP_ADDRESS": (p.ipv4, ["IP", "client ip", "ip address", "remote_addr"], True),
    "IPV6": (p.ipv6, ["IP", "client ip", "ip address", "remote_addr"], True),
    "MAC_ADDRESS": (p.mac, ["MAC", "mac address", "device mac"], True),
    "IMEI": (p.imei, ["IMEI", "imei number"], False),
    "IMSI": (lambda r: r.choice(["262", "310", "234", "208"]) + r.digits(12), ["IMSI", "subscriber"], False),
    "ICCID": (p.iccid, ["ICCID", "SIM card", "sim serial"], False),
    "VIN": (p.vin, ["VIN", "vehicle identification number", "chassis"], True),
    "ADVERTISING_ID": (lambda r: r.one(r.uuid(), r.uuid().upper()), ["advertising id", "IDFA", "GAID", "adid"], False),
    "INTERNAL_HOST": (
        lambda r: f"{r.choice(SERVICES)}-{r.digits(2)}.{r.choice(['corp', 'prod', 'eu'])}.acme.{r.choice(['internal', 'local', 'corp', 'lan'])}",
        ["host", "server"],
        True,
    ),
    "US_NPI": (p.npi, ["NPI", "national provider identifier", "provider"], False),
    "DEA_NUMBER": (p.dea, ["DEA", "DEA number", "prescriber DEA"], False),
    "US_MBI": (p.mbi, ["MBI", "Medicare beneficiary identifier", "Medicare ID"], True),
    "UK_NHS": (p.nhs, ["NHS number", "NHS", "nhs no"], False),
    "DE_KVNR": (p.kvnr, ["Krankenversichertennummer", "KVNR", "Versichertennummer"], False),
    "CA_HEALTH_CARD": (
        lambda r: cut(r.digits(10), 4, 3, by="-") + r.one("", "-" + r.shape("<C2>")),
        ["health card", "OHIP", "health card number"],
        False,
    ),
    "MEDICAL_RECORD_NUMBER": (
        lambda r: r.one(r.digits(8), f"{r.digits(3)}-{r.digits(5)}", r.shape("M<d7>")),
        ["MRN", "medical record number", "patient MRN"],
        False,
    ),
    "ICD10": (
        lambda r: r.choice(["E11.9", "I10", "F32.1", "C50.911", "J45.909", "Z79.4"]),
        ["diagnosis", "ICD-10", "diagnosed with"],
        False,
    ),
}


def snake(label):
    return "".join(c if c.isalnum() else "_" for c in label.lower()).strip("_").replace("__", "_")


def around(r, label):
    name, service, key = p.name(r), r.choice(SERVICES), snake(label)
    first = name.split()[0]
    return r.one(
        f"{label}: {VALUE}",
        f"My {label} is {VALUE}.",
        f"{first}'s {label} is {VALUE}, please update the record.",
        f"{label} {VALUE}",
        f"Please confirm {label} {VALUE} before Friday.",
        f"- {label}: {VALUE}\n- status: open",
        json.dumps({"id": r.randint(1, 9999), key: VALUE, "active": True}, ensure_ascii=False),
        json.dumps({"customer": {"name": first, key: VALUE}}, indent=2, ensure_ascii=False),
        f"id,name,{key}\n17,{first},{VALUE}\n18,Bob,\n",
        f"name;{label};city\n{first};{VALUE};Bern\n",
        f"INSERT INTO customers (name, {key}) VALUES ('{first}', '{VALUE}');",
        f"UPDATE users SET {key} = '{VALUE}' WHERE id = {r.randint(1, 999)};",
        f"SELECT * FROM users WHERE {key} = '{VALUE}'",
        f"2026-03-1{r.randint(0, 9)} 08:00:0{r.randint(0, 9)} INFO {service} user={r.randint(1, 999)} {key}={VALUE}",
        f"[{service}] validation failed for {label} '{VALUE}'",
        json.dumps({"level": "info", "msg": f"saved {key}={VALUE}", "svc": service}, ensure_ascii=False),
        json.dumps({"role": "user", "content": f"Can you fill in the form? My {label} is {VALUE} and I live in Graz."}, ensure_ascii=False),
        json.dumps({"messages": [{"role": "user", "content": f"{label}: {VALUE}\nWrite a letter."}]}, ensure_ascii=False),
        f"Meine {label} lautet {VALUE}, bitte ändern.",
        f"Mein {label}: {VALUE}",
        f"Mon {label} est {VALUE}, merci.",
        f"Mi {label} es {VALUE}.",
        f"Il mio {label} è {VALUE}",
        f"<{key}>{VALUE}</{key}>" if key[0].isalpha() and key.isascii() else f"{label}={VALUE}",
        f"| {label} | {VALUE} |",
        f'{key}: "{VALUE}"\nplan: gold',
        f"Hi, this is {first}. I was asked to send you my {label}, it is {VALUE}. Thanks!",
        f"Q: {label}?\nA: {label} = {VALUE}",
        f"?{key}={VALUE.replace(' ', '%20')}&lang=de" if False else f"{key}={VALUE}; lang=de",
        f"({label}: {VALUE})",
    )


def alone(r):
    name = p.name(r).split()[0]
    return r.one(
        VALUE,
        f"{name} sent {VALUE} yesterday.",
        f"Bitte an {VALUE} senden",
        f"17,{name},{VALUE},Bern",
        json.dumps({"role": "user", "content": f"what is {VALUE}?"}),
        f"('{name}', '{VALUE}', 3)",
        f"processed {VALUE} in 12 ms",
        json.dumps(["a", VALUE]),
        f"Voici : {VALUE}.",
        f"<td>{VALUE}</td>",
    )


def item(r, entity):
    make, labels, bare = ENTITIES[entity]
    value = make(r)
    text = alone(r) if bare and r.random() < 0.4 else around(r, r.choice(labels))
    if entity == "CARD_TRACK":
        text = text.replace("<td>", "").replace("</td>", "")
    start = text.index(VALUE)
    return text.replace(VALUE, value), [(start, start + len(value))]


def wrong_check(r):
    """A value whose check digit is off by one, where a checksum decides, with its own label or without."""
    entity = r.choice(
        [
            "CREDIT_CARD",
            "IBAN_CODE",
            "DE_TAX_ID",
            "BR_CPF",
            "PL_PESEL",
            "NL_BSN",
            "ES_NIF",
            "IT_FISCAL_CODE",
            "FR_NIR",
            "IN_AADHAAR",
            "CN_ID",
            "HR_OIB",
            "CH_AHV",
            "UK_NHS",
            "US_NPI",
            "ABA_ROUTING",
            "CA_SIN",
            "AU_TFN",
            "TR_TCKN",
            "BE_NRN",
            "VIN",
            "LEI",
            "ISIN",
            "CRYPTO",
            "IMEI",
            "KR_BRN",
            "SG_NRIC_FIN",
            "MX_CURP",
            "BR_CNPJ",
            "CL_RUT",
        ]
    )
    make, labels, _ = ENTITIES[entity]
    value = make(r)
    at = max(index for index, c in enumerate(value) if c.isalnum() and c.isascii())
    if entity == "VIN":
        at = 8
    alphabet = "0123456789" if value[at].isdigit() else ("ABCDEFGHJKLMNPQRSTVWXYZ" if value[at].isupper() else "acdefghjklmnpqrstuvwxyz")
    wrong = alphabet[(alphabet.find(value[at]) + r.randint(1, 3)) % len(alphabet)]
    text = value[:at] + wrong + value[at + 1 :]
    return r.one(
        f"{r.choice(labels)}: {text}",
        f"value {text}",
        f"ref {text} closed",
        json.dumps({"id": text}),
        json.dumps({snake(labels[0]): text}, ensure_ascii=False),
        text,
    )


def numbers(r):
    """Numbers that are nobody's."""
    service = r.choice(SERVICES)
    return r.one(
        f"order {r.digits(10)} shipped",
        f"Order No. {r.digits(8)}-{r.digits(4)}",
        json.dumps({"order_id": int("1" + r.digits(11)), "total": 129.9}),
        f"invoice INV-2026-{r.digits(6)}",
        f"ts={r.randint(1_700_000_000, 1_800_000_000)}",
        f"epoch_ms={r.randint(1_700_000_000_000, 1_800_000_000_000)}",
        f"took {r.digits(9)} ns",
        f"2026-03-{r.randint(10, 28)}T08:{r.randint(10, 59)}:{r.randint(10, 59)}.{r.digits(6)}Z started",
        f"pid={r.randint(1000, 99999)} rss={r.digits(9)} bytes",
        f"SKU {r.shape('<C3>-<d5>-<d3>')}",
        f"tracking 1Z{r.shape('<N16>')}",
        f"version {r.randint(1, 20)}.{r.randint(0, 99)}.{r.randint(0, 99)}.{r.randint(0, 9)}",
        f"chapter {r.randint(1, 12)}.{r.randint(1, 9)}.{r.randint(1, 9)}",
        f"{r.uniform(0, 1):.12f}",
        f"offset={r.digits(12)} partition={r.randint(0, 64)}",
        f"ISBN 978-{r.digits(1)}-{r.digits(3)}-{r.digits(5)}-{r.digits(1)}",
        f"build {r.digits(8)}.{r.digits(2)}",
        f"10.0.{r.randint(0, 255)}.{r.randint(1, 254)} 192.168.1.{r.randint(2, 200)} 127.0.0.1",
        "192.0.2.44 198.51.100.7 203.0.113.9",
        "2001:db8::1 fe80::1 ::1",
        f"[{', '.join(r.digits(r.randint(1, 5)) for _ in range(12))}]",
        f"embedding: [{', '.join(f'{r.uniform(-1, 1):.8f}' for _ in range(8))}]",
        f"size 1{r.digits(3)}x{r.digits(3)} px",
        f"case-{r.digits(7)}",
        f"transaction {r.shape('<h16>')} height {r.digits(6)}",
        f"call 555-0100 or 1-800-555-01{r.digits(2)}",
        "someone@example.com, noreply@acme.io, user@localhost",
        f"assets/icon@2x.png {service}@1.2.3",
        f"git@github.com:acme/{service}.git",
        "00:00:00:00:00:00 ff:ff:ff:ff:ff:ff",
        ":".join(r.shape("<h2>") for _ in range(16)),
        ":".join(r.shape("<h2>") for _ in range(20)).upper(),
        f"12:{r.randint(10, 59)}:{r.randint(10, 59)} 13:0{r.randint(0, 9)}:0{r.randint(0, 9)}",
        "4111 1111 1111 1111",
        "000-00-0000 and 666-12-3456 and 987-65-4321",
        "078-05-1120",
        "1234567890",
        "0000 0000 0000 0000",
        f"qty {r.digits(3)}-{r.digits(2)}-{r.digits(2)}",
        f"range {r.digits(4)}-{r.digits(4)}",
        f"std::vector::{service}::iter",
        f"max_tokens {r.digits(5)} temperature 0.{r.digits(1)}",
        f"room {r.shape('<C1><d3>')} floor {r.randint(1, 40)}",
        f"AB{r.digits(6)}",
        f"flight LH{r.digits(4)} seat {r.randint(1, 40)}A",
        f"{service}-{r.shape('<q9>')}-{r.shape('<q5>')} 1/1 Running",
        f"score: {r.digits(3)}.{r.digits(4)}, {r.digits(2)}.{r.digits(4)}",
        f"part number {r.shape('<C2><d6><C1>')}",
        f"mit {r.digits(1)}.{r.digits(3)}.{r.digits(3)} Datensätzen",
        f"{r.digits(3)},{r.digits(3)},{r.digits(3)} rows",
        f'http/1.1" 200 {r.digits(5)} "-"',
        f"id={r.digits(18)}",
        f"snowflake {r.digits(19)}",
        f"phash={r.shape('<h16>')}",
        f"0x{r.shape('<h40>')[:r.choice([8, 16, 38])]}",
        f"lease until 20{r.digits(2)}-0{r.randint(1, 9)}-1{r.randint(0, 9)}",
        f"barcode {r.digits(12)}",
        f"{r.digits(4)} {r.digits(4)} {r.digits(4)} {r.digits(3)}",
    )


NEGATIVES = {
    "wrong-check": wrong_check,
    "numbers": numbers,
    "uuid": secret_negatives.uuid,
    "checksum": secret_negatives.checksum,
    "git": secret_negatives.git,
    "image": secret_negatives.image,
    "lock-file": secret_negatives.lock,
    "cluster": secret_negatives.cluster,
    "listing": secret_negatives.listing,
    "documentation": secret_negatives.documentation,
    "style": secret_negatives.style,
    "code": secret_negatives.code,
    "prose": secret_negatives.prose,
}


def items(r, each):
    for entity in ENTITIES:
        for _ in range(each):
            yield entity, *item(r, entity)


def negatives(r, each):
    for kind, make in NEGATIVES.items():
        for _ in range(each * (4 if kind in ("wrong-check", "numbers") else 1)):
            yield kind, make(r)
