"""Seeded chance and shapes of text. Enters: a seed. Leaves: invented values. It never reads rules/: what it makes must not
depend on what is measured with it."""

import random
import re
import string

ALPHABETS = {
    "b": string.digits + string.ascii_letters,
    "u": string.digits + string.ascii_letters + "_-",
    "B": string.digits + string.ascii_letters + "+/",
    "h": "0123456789abcdef",
    "H": "0123456789ABCDEF",
    "l": string.ascii_lowercase,
    "L": string.ascii_letters,
    "d": string.digits,
    "n": string.digits + string.ascii_lowercase,
    "N": string.digits + string.ascii_uppercase,
    "C": string.ascii_uppercase,
    "A": "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567",
    "q": "023456789acdefghjklmnpqrstuvwxyz",
}
PART = re.compile(r"<(\w)(\d+)(?:-(\d+))?>")


class Chance(random.Random):
    """Random values by shape: `<b20>` is twenty characters of base 62, `<h32>` hexadecimal, `<d3-5>` three to five digits."""

    def shape(self, pattern):
        def fill(match):
            low = int(match[2])
            length = self.randint(low, int(match[3])) if match[3] else low
            return "".join(self.choice(ALPHABETS[match[1]]) for _ in range(length))

        return PART.sub(fill, pattern)

    def uuid(self):
        return self.shape("<h8>-<h4>-4<h3>-a<h3>-<h12>")

    def digits(self, length):
        return self.shape(f"<d{length}>")

    def one(self, *choices):
        return self.choice(choices)


# Words to make names, prose and identifiers of.
WORDS = (
    "amber anchor apple arrow autumn basket beacon bridge bronze butter candle canyon carbon castle cedar cherry circle "
    "cloud cobalt copper coral cotton crystal dawn delta desert dragon eagle echo ember engine falcon feather field flame "
    "forest galaxy garden ginger glacier granite harbor hazel horizon indigo island ivory jasper jungle kernel ladder "
    "lagoon lantern lemon lilac magnet maple marble meadow mercury meteor mirror mountain nectar needle nickel north "
    "ocean olive onion orbit orchid oyster paper pearl pepper pilot planet plaza pocket prairie quartz rabbit raven ribbon "
    "river rocket saddle saffron salmon scarlet shadow silver spiral summit sunset thunder timber topaz tunnel turtle "
    "valley velvet violet walnut whisper willow window winter yellow zephyr"
).split()
SERVICES = (
    "checkout billing search gateway ingest mailer auth cart notifier reports scheduler worker frontend catalog "
    "recommender exporter webhooks sessions"
).split()
HOSTS = (
    "db.prod.acme-internal.net cache-01.acme-internal.net mq.eu-west.acme-internal.net pg-main.acme.io 10.20.30.41 "
    "localhost sql01.acme.io orders-db.svc.cluster.local db"
).split()


def cut(text, *sizes, by=" "):
    parts = []
    for size in sizes:
        parts.append(text[:size])
        text = text[size:]
    return by.join(parts + ([text] if text else []))


def born(r, form="%y%m%d", low=1940, high=2004):
    year, month, day = r.randint(low, high), r.randint(1, 12), r.randint(1, 28)
    for key, value in (("%Y", f"{year}"), ("%y", f"{year % 100:02d}"), ("%m", f"{month:02d}"), ("%d", f"{day:02d}")):
        form = form.replace(key, value)
    return form


def until(make):
    """The first value for which there is a check digit."""
    while (value := make()) is None:
        pass
    return value
