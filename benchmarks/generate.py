"""Made-up shop events for benchmarks: any number, the same bytes for the same seed.

Events come from visits, many at a time: a visit is one device that browses for a while, perhaps logs in, and is
replaced by another. What holds for a visit (device, screen, campaign, consent) is text made once; what changes (page,
properties, times) is filled in. That keeps JSON encoding out of the loop: about 25 µs an event.

Every event is valid and every messageId unique, so the expected number of rows is the number of events. Devices, people
and products are the same for all seeds: another seed is more visits to the same shop, with its own messageIds.
"""

import argparse
import json
import random
import zlib
from bisect import bisect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache, partial
from itertools import accumulate, islice
from pathlib import Path

START_MS = int(datetime(2026, 3, 2, tzinfo=UTC).timestamp() * 1000)
DEVICES = 200_000
PEOPLE = 120_000
WEB_SHARE = 0.7
SITE = "https://example.com"

Draw = Callable[[], float]
Properties = Callable[[Draw, "Visit", int], str]

# Event names with their weights, the most frequent first: `--names 10` takes the first ten.
EVENTS = """220 Product Viewed, 130 Product List Viewed, 110 Product Clicked, 80 Products Searched, 70 Product Added,
60 Cart Viewed, 50 Promotion Viewed, 30 Checkout Started, 28 Checkout Step Viewed, 25 Application Opened,
24 Checkout Step Completed, 20 Payment Info Entered, 18 Order Completed, 16 Promotion Clicked, 14 Product Removed,
12 Coupon Entered, 11 Product Added to Wishlist, 10 Logged In, 8 Coupon Applied, 8 Application Backgrounded,
6 Product Reviewed, 5 Signed Up, 4 Coupon Denied, 4 Product Shared, 3 Wishlist Product Added to Cart,
3 Product Removed from Wishlist, 3 Order Updated, 2 Cart Shared, 2 Order Refunded, 1 Order Cancelled"""
# With more than thirty names the others are pairs of these: Banner Opened, Filter Opened, ...
NOUNS = """Banner Filter Gallery Review Question Answer Address Invoice Parcel Voucher Newsletter Survey Store Locator
Chat Ticket Return Gift Bundle Subscription Reminder Notification Profile Password Avatar Referral Badge Points Tier
Video Sizing Guide Comparison Preorder Stock Alert Receipt Warranty Repair Rental"""
VERBS = """Opened Closed Viewed Clicked Submitted Started Finished Failed Shared Saved Deleted Edited Rated Expanded
Collapsed Hovered Scrolled Copied Printed Downloaded Uploaded Requested Accepted Declined Scheduled Confirmed Renewed
Paused"""

CATEGORIES = {
    "coffee": ("Espresso", "Filter Roast", "Decaf", "Café Crème", "Single Origin"),
    "tea": ("Darjeeling", "Sencha", "Rooibos", "Earl Grey", "Chai"),
    "kitchen": ("Kettle", "Grinder", "Scale", "French Press", "Moka Pot", "Milk Frother"),
    "cups": ("Mug", "Espresso Cup", "Travel Mug", "Tea Bowl", "Glass"),
    "gifts": ("Gift Box", "Voucher", "Sampler", "Tasting Set"),
}
BRANDS = ("Alder & Co", "Bergmühle", "Casa Luna", "Dorset Works", "Eleven", "Fjord", "Grønn", "Haus Nord")
COLOURS = ("black", "white", "sand", "moss", "terracotta", "blue")
LOCALES = ("en-US", "en-GB", "de-DE", "de-AT", "fr-FR", "es-ES", "nl-NL", "sv-SE", "pl-PL", "it-IT")
ZONES = ("Europe/Berlin", "Europe/London", "America/New_York", "Europe/Paris", "America/Los_Angeles", "Asia/Kolkata")
OFFSETS = ("GMT+0100", "GMT+0000", "GMT-0500", "GMT-0800", "GMT+0530")
FIRST_NAMES = ("Ada", "Bruno", "Chloé", "Elif", "Farid", "Hana", "Ines", "Jonas", "Kofi", "Mateo", "Nora", "Priya")
LAST_NAMES = ("Alves", "Becker", "Dubois", "Eriksen", "García", "Haddad", "Jansen", "Kowalski", "Møller", "Novák")
CITIES = ("Berlin", "Leeds", "Lyon", "Graz", "Malmö", "Łódź")
COUNTRIES = ("DE", "GB", "FR", "US", "AT", "NL", "SE", "ES")
REFERRERS = ("$direct", "https://search.example.org/", "https://news.example.org/offers", "https://t.example.org/a8Fz")
SCREENS = ((1920, 1080, 1), (1440, 900, 2), (1536, 864, 1.25), (2560, 1440, 1), (390, 844, 3), (412, 915, 2.625))
PHONES = (
    ("Google", "Pixel 7", "panther", 1080, 2400, 420, "14"),
    ("Google", "Pixel 8a", "akita", 1080, 2400, 430, "15"),
    ("samsung", "SM-S911B", "dm1q", 1080, 2340, 425, "14"),
    ("samsung", "SM-A546B", "a54x", 1080, 2340, 403, "13"),
    ("Xiaomi", "2201117TY", "spes", 1080, 2400, 409, "12"),
    ("OnePlus", "CPH2449", "OP594DL1", 1240, 2772, 450, "14"),
    ("motorola", "moto g84 5G", "bangkk", 1080, 2400, 405, "13"),
)
CARRIERS = ("Telekom.de", "vodafone", "O2 - UK", "Orange F", "T-Mobile", "")
PAGES = (("Home", "/"), ("Cart", "/cart"), ("Account", "/account"), ("Help", "/help/delivery"), ("Stores", "/stores"))
TERMS = ("espresso", "grinder", "tea+gift", "travel+mug", "decaf+500g", "moka")
SNIPPET, INSTALLED = ',"snippetVersion":"3.0.60"', ',"installType":"cdn"'
NO_DEVICE = ',"device":null,"network":null'
BRANDS_OF_BROWSER = (
    '"userAgentData":{"brands":[{"brand":"Chromium","version":"134"},{"brand":"Not A(Brand","version":"8"}],'
    '"mobile":false,"platform":"Windows"},'
)
COUPONS = ("SPRING10", "WELCOME5", "FREESHIP", "TEA4TWO")


def text(value: object) -> str:
    """JSON as the SDKs send it: minified, other scripts as they are."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _inner(value: object) -> str:
    """The text between the braces or quotes."""
    return text(value)[1:-1]


@lru_cache(maxsize=8192)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def iso(ms: int) -> str:
    """Milliseconds since 1970 → `YYYY-MM-DDTHH:MM:SS.mmmZ`."""
    return f"{_second(ms // 1000)}.{ms % 1000:03d}Z"


def uuid(bits: int) -> str:
    digits = f"{bits:032x}"
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


def number(value: float, web: bool) -> str:
    """A float as the SDK prints it: JavaScript knows no `20.0`, so a price is an integer in some events."""
    return str(int(value)) if web and value == int(value) else str(value)


@dataclass(frozen=True, slots=True)
class Product:
    """One product as ready JSON text: keys that every event about it has, and those that only a close look adds."""

    core: str
    details: str
    price: float
    path: str
    title: str
    category: str


def _products(count: int) -> list[Product]:
    rng = random.Random("products")
    products = []
    for i in range(count):
        category, brand = rng.choice(list(CATEGORIES)), rng.choice(BRANDS)
        name = rng.choice(CATEGORIES[category])
        price = float(rng.randint(4, 90)) if rng.random() < 0.25 else round(rng.uniform(3, 140), 2)
        path = f"/{category}/p-{i:05d}"
        core: dict[str, object] = {"product_id": f"p-{i:05d}", "sku": f"{category[:3].upper()}-{i:04d}", "name": name}
        details: dict[str, object] = {"image_url": f"https://img.example.com{path}.jpg"}
        if category == "cups":
            core["variant"] = rng.choice(COLOURS)
        if rng.random() < 0.3:
            average = round(rng.randint(20, 49) / 10 + 0.05, 2)
            details |= {"brand": brand, "rating": {"average": average, "count": rng.randint(0, 400)}}
        if rng.random() < 0.05:
            details["tags"] = rng.sample(["new", "organic", "sale", "bestseller", "fair-trade"], 2)
        products.append(Product(_inner(core), "," + _inner(details), price, path, _inner(f"{brand} {name}"), category))
    return products


def _user_agents(count: int) -> list[str]:
    systems = ("Windows NT 10.0; Win64; x64", "Macintosh; Intel Mac OS X 10_15_7", "X11; Linux x86_64")
    webkit = "AppleWebKit/537.36 (KHTML, like Gecko)"
    agents = []
    for i in range(count):
        system, major = systems[i % 3], 118 + i % 23
        agents.append(
            (
                f"Mozilla/5.0 ({system}) {webkit} Chrome/{major}.0.0.0 Safari/537.36",
                f"Mozilla/5.0 ({system}) {webkit} Chrome/{major}.0.0.0 Safari/537.36 Edg/{major}.0.{2000 + i}.{i % 90}",
                f"Mozilla/5.0 ({system}; rv:{major}.0) Gecko/20100101 Firefox/{major}.0",
                f"Mozilla/5.0 (iPhone; CPU iPhone OS 17_{i % 7} like Mac OS X) AppleWebKit/605.1.15 "
                f"(KHTML, like Gecko) Version/17.{i % 7} Mobile/15E{148 + i} Safari/604.1",
            )[i % 4]
        )
    return agents


PRODUCTS = _products(2000)
AGENTS = _user_agents(200)


def product_fields(r: Draw, web: bool, details: bool = False) -> str:
    """One product's keys, without braces."""
    product = PRODUCTS[int(r() * r() * len(PRODUCTS))]
    return f'{product.core},"price":{number(product.price, web)}{product.details if details else ""}'


def product_array(r: Draw, web: bool, most: int) -> str:
    """`"products":[...]` of one to `most` products."""
    items = [f'{{{product_fields(r, web)},"quantity":{1 + int(r() * 3)}}}' for _ in range(1 + int(r() * most))]
    return f'"products":[{",".join(items)}]'


def options(r: Draw, *chances: tuple[float, str]) -> str:
    """The fragments that were drawn, each with its own chance: this is what makes the shapes of events differ."""
    return "".join([fragment for chance, fragment in chances if r() < chance])


def money(r: Draw, most: float, v: "Visit") -> str:
    return number(round(r() * most, 2), v.web)


def one_product(r: Draw, v: "Visit", now: int) -> str:
    position, quantity = f',"position":{int(r() * 40)}', f',"quantity":{1 + int(r() * 3)}'
    seen = f',"coupon":"{COUPONS[int(r() * 4)]}","added_at":"{iso(now - int(r() * 9e6))}"'
    return product_fields(r, v.web, r() < 0.3) + options(r, (0.35, position), (0.3, quantity), (0.05, seen))


def product_list(r: Draw, v: "Visit", now: int) -> str:
    fixed = f'"list_id":"list-{int(r() * 30)}","category":"{v.category}",{product_array(r, v.web, 2)}'
    sort = f',"sort_by":"{("price", "rating", "newest")[int(r() * 3)]}","page_number":{1 + int(r() * 6)}'
    filters = f',"filters":[{{"type":"price","value":"under-{10 * int(1 + r() * 9)}"}}]'
    return fixed + options(r, (0.4, sort), (0.2, filters), (0.1, f',"resultsCount":{int(r() * 300)}'))


def search(r: Draw, v: "Visit", now: int) -> str:
    fixed = f'"query":"{TERMS[int(r() * 6)]}","took_ms":{number(round(r() * 400, 1), v.web)}'
    facets = f',"facets":{{"brand":"{int(r() * 8)}","in_stock":true}}'
    return fixed + options(r, (0.8, f',"results":{int(r() * 120)}'), (0.2, ',"autocomplete":true'), (0.1, facets))


def cart(r: Draw, v: "Visit", now: int) -> str:
    value = f',"value":{money(r, 200, v)},"currency":"EUR"'
    updated, share = f',"updatedAt":"{iso(now - int(r() * 9e6))}"', ',"share_via":"link"'
    return f'"cart_id":"cart-{v.number}",{product_array(r, v.web, 2)}' + options(
        r, (0.7, value), (0.2, updated), (0.05, share)
    )


def checkout(r: Draw, v: "Visit", now: int) -> str:
    shipping = f',"shipping_method":"{("standard", "express", "pickup")[int(r() * 3)]}"'
    payment = f',"payment_method":"{("card", "paypal", "invoice")[int(r() * 3)]}","value":{money(r, 250, v)}'
    address = f',"address":{{"country":"{v.country}","postcode":"{int(r() * 90000 + 10000)}"}}'
    slot = f',"slot":"{iso(now + int(r() * 4e8))[:16]}+01:00"'
    fixed = f'"checkout_id":"co-{v.session}","step":{1 + int(r() * 4)}'
    return fixed + options(r, (0.5, shipping), (0.5, payment), (0.2, address), (0.05, slot))


def order(r: Draw, v: "Visit", now: int) -> str:
    # An order id is a number in the web shop's code and text in the app's: a column of both kinds.
    order_id = str(10_000_000 + int(r() * 9e7))
    fixed = (
        f'"order_id":{order_id if v.web else text(order_id)},"total":{money(r, 300, v)},"currency":"EUR",'
        f'{product_array(r, v.web, 3)},"shipping":{number((0.0, 4.9, 9.5)[int(r() * 3)], v.web)}'
    )
    delivery = f',"estimatedDelivery":"{iso(now + 3 * 86_400_000)[:10]}"'
    discount = f',"discount":{money(r, 20, v)},"coupon":"{COUPONS[int(r() * 4)]}"'
    gift = ',"gift":{"wrap":true,"message":"Für dich!\\nAlles Gute"}'
    return fixed + options(
        r, (0.9, f',"tax":{money(r, 50, v)}'), (0.5, delivery), (0.3, discount), (0.1, gift), (0.02, ',"b2b":true')
    )


def coupon(r: Draw, v: "Visit", now: int) -> str:
    # Text where the rest of the shop sends a number: rare, and found only by who reads every event.
    discount = f'"{int(r() * 20)} %"' if r() < 0.005 else money(r, 20, v)
    reason = f',"reason":"minimum order value","expires_at":"{iso(now + 86_400_000)}"'
    fixed = f'"coupon_id":"{COUPONS[int(r() * 4)]}","discount":{discount}'
    return fixed + options(r, (0.5, f',"cart_id":"cart-{v.number}"'), (0.2, reason))


def promotion(r: Draw, v: "Visit", now: int) -> str:
    fixed = f'"promotion_id":"promo-{int(r() * 40)}","creative":"banner_{int(r() * 9)}"'
    place = f',"position":"{("home_top", "home_bottom", "cart")[int(r() * 3)]}"'
    return fixed + options(r, (0.7, ',"name":"Tea week"'), (0.6, place), (0.2, f',"visible_ms":{int(r() * 9000)}'))


def review(r: Draw, v: "Visit", now: int) -> str:
    fixed = f'"review_id":"r-{int(r() * 1e8)}","product_id":"p-{int(r() * 2000):05d}","rating":{1 + int(r() * 5)}'
    body = ',"review_body":"Good, and quick to arrive. Would buy it again: the \\"medium\\" is rather dark."'
    return fixed + options(r, (0.7, body), (0.2, f',"purchasedAt":"{iso(now - int(r() * 3e9))[:10]}"'))


def account(r: Draw, v: "Visit", now: int) -> str:
    fixed = f'"method":"{("password", "google", "apple", "link")[int(r() * 4)]}"'
    return fixed + options(r, (0.4, ',"newsletter":true'), (0.1, ',"two_factor":{"used":false}'))


def application(r: Draw, v: "Visit", now: int) -> str:
    fixed = f'"version":"4.{int(r() * 9)}.0","from_background":{"true" if r() < 0.7 else "false"}'
    link = f',"url":"exampleshop://open/{v.category}","referring_application":"mail"'
    return fixed + options(r, (0.3, f',"build":{400 + int(r() * 90)}'), (0.1, link))


def _feature(index: int) -> Properties:
    """Properties of a made-up event: its own two to five keys, each of one type and with its own chance."""
    rng = random.Random(f"feature {index}")
    keys = []
    for key in rng.sample(["source", "target", "slot", "step", "result", "label", "state", "items", "info", "mode"], 8):
        name = key if rng.random() < 0.5 else f"{key}{rng.choice(('Id', 'Name', '_count', '_at', 'Value'))}"
        keys.append((rng.uniform(0.1, 1), f',"{name}":', rng.randrange(7)))
    keys = keys[: rng.randint(2, 5)]

    def properties(r: Draw, v: "Visit", now: int) -> str:
        parts = [f'"feature_version":{1 + index % 4}']
        for chance, key, kind in keys:
            if r() < chance:
                value = (
                    str(int(r() * 1000)),
                    number(round(r() * 90, 2), v.web),
                    f'"value {int(r() * 50)}"',
                    "true" if r() < 0.5 else "false",
                    f'"{iso(now - int(r() * 1e8))}"',
                    f'{{"id":{int(r() * 99)},"kind":"{v.category}"}}',
                    f"[{int(r() * 9)},{int(r() * 9)}]",
                )[kind]
                parts.append(key + value)
        return "".join(parts)

    return properties


# What makes an event's properties: the first of these that is part of its name.
FAMILIES: dict[str, Properties] = {"List": product_list, "Search": search, "Review": review, "Cart Viewed": cart}
FAMILIES |= {"Cart Shared": cart, "Product": one_product, "Checkout": checkout, "Payment": checkout, "Order": order}
FAMILIES |= {"Coupon": coupon, "Promotion": promotion, "Application": application, "": account}


def event_catalogue(names: int) -> tuple[list[str], list[Properties], list[float]]:
    """The first `names` event names, what makes their properties, and cumulative weights that end in 1."""
    weighted = [item.split(maxsplit=1) for item in EVENTS.replace("\n", " ").split(",")][:names]
    known = [name for _, name in weighted]
    makers = [next(maker for word, maker in FAMILIES.items() if word in name) for name in known]
    weights = [float(weight) for weight, _ in weighted]
    pairs = [f"{noun} {verb}" for verb in VERBS.split() for noun in NOUNS.split()]
    for i in range(names - len(known)):
        version = i // len(pairs)
        known.append(pairs[i % len(pairs)] + (f" V{version + 1}" if version else ""))
        makers.append(_feature(i))
        weights.append(6000 / (i + 20) / 5)  # a long tail: at 1000 names about half of the tracks
    total = sum(weights)
    cumulative = [weight / total for weight in accumulate(weights)]
    cumulative[-1] = 1.0  # rounding could leave it below the largest draw
    return known, makers, cumulative


def _domain(referrer: str) -> str:
    return "" if referrer == "$direct" else referrer.split("/", 3)[2]


class Visit:
    """One device browsing. Everything that stays the same meanwhile is text already."""

    # fmt: off
    __slots__ = ("anonymous_id", "bare", "before", "category", "country", "entry", "fresh", "ip", "left", "legacy",
                 "networks", "number", "owner", "place", "session", "snippet", "tail", "traits", "url", "user", "web")
    # fmt: on

    def __init__(self, rng: random.Random, now: int) -> None:
        r = rng.random
        self.number = int(r() * r() * DEVICES)  # some devices come back often
        device = random.Random(self.number)
        self.web = device.random() < WEB_SHARE
        self.legacy = device.random() < 0.45  # an SDK of the generation before
        self.anonymous_id = uuid(device.getrandbits(128)) if self.web else f"{device.getrandbits(64):016x}"
        people = device.choices((0, 1, 2), (45, 53, 2))[0]
        self.owner = [device.randrange(PEOPLE) for _ in range(people)][-1 if r() < 0.3 else 0] if people else None
        self.ip = f"{device.choice(('192.0.2', '198.51.100', '203.0.113'))}.{1 + device.randrange(254)}"
        self.country = device.choice(COUNTRIES)
        self.category = rng.choice(list(CATEGORIES))
        self.session = now // 1000
        self.fresh = True
        self.snippet = False
        self.left = 3 + int(rng.expovariate(1 / 9))
        self.user = ""
        self.traits = self.bare = "{}" if self.web else f'{{"anonymousId":"{self.anonymous_id}"}}'
        self.entry = self.url = REFERRERS[min(3, int(r() * r() * 5))]
        self.place = ("", "")
        self.networks: tuple[str, ...] = ()
        if self.web:
            self._web(device, r)
        else:
            self._android(device)
        if self.owner is not None and r() < 0.3:
            self.login(self.owner)

    def login(self, person: int) -> None:
        self.user = f"user-{person:06d}"
        self.traits = user_traits(person)

    def logout(self) -> None:
        self.user = ""
        self.traits = self.bare

    def go(self, r: Draw) -> tuple[str, str]:
        """Open another page: its name, and (web) the page keys without braces. Its referrer is the page before."""
        product = PRODUCTS[int(r() * r() * len(PRODUCTS))]
        choice = r()
        if choice < 0.5:
            name, path, title = "Product", product.path, product.title
        elif choice < 0.7:
            name, path, title = "Category", f"/{product.category}", product.category.title()
        else:
            name, path = PAGES[int(r() * len(PAGES))]
            title = name
        if not self.web:
            self.place = (name, "")
            return self.place
        query = f"?q={TERMS[int(r() * 6)]}&page={int(r() * 9)}" if r() < 0.2 else ""
        referrer, self.url = self.url, f"{SITE}{path}{query}"
        page = (
            f'"path":"{path}","referrer":"{referrer}","referring_domain":"{_domain(referrer)}","search":"{query}",'
            f'"title":"{title}","url":"{self.url}"'
        )
        if not self.legacy:
            tab = f',"tab_url":"{self.url}{"#reviews" if r() < 0.05 else ""}"'
            page += f',"initial_referrer":"{self.entry}","initial_referring_domain":"{_domain(self.entry)}"'
            page += tab if self.snippet else ""
        self.place = (name, page)
        return self.place

    def _web(self, device: random.Random, r: Draw) -> None:
        width, height, density = device.choice(SCREENS)
        sdk = f"2.4{device.randrange(9)}.{device.randrange(5)}" if self.legacy else f"3.{device.randrange(24)}.0"
        self.snippet = not self.legacy and device.random() < 0.4
        inner = f',"innerWidth":{width - int(r() * 60)},"innerHeight":{height - 90 - int(r() * 120)}'
        campaign = ""
        if r() < 0.18:
            source, name = ("newsletter", "google", "partner")[int(r() * 3)], f"spring-{int(r() * 12)}"
            campaign = f'"source":"{source}","medium":"email","name":"{name}"'
            campaign += options(r, (0.3, ',"term":"coffee"'), (0.05, ',"test_group":"b"'))
        self.before = (
            f',"campaign":{{{campaign}}},"library":{{"name":"RudderLabs JavaScript SDK","version":"{sdk}"'
            f'{SNIPPET if self.snippet else ""}}},"locale":"{device.choice(LOCALES)}",'
            f'"userAgent":"{device.choice(AGENTS)}",'
            f'{BRANDS_OF_BROWSER if device.random() < 0.12 else ""}"screen":{{"width":{width},"height":{height},'
            f'"density":{density}{inner if self.snippet else ""}}},'
            f'"os":{{"name":"","version":""}},"app":{{"name":"RudderLabs JavaScript SDK",'
            f'"namespace":"com.rudderlabs.javascript","version":"{sdk}"{INSTALLED if self.snippet else ""}}}'
            f"{NO_DEVICE if self.legacy else ''}"
        )
        self.tail = "" if self.legacy else f',"timezone":"{device.choice(OFFSETS)}"'
        if device.random() < 0.15:
            self.tail += ',"consentManagement":{"provider":"oneTrust","allowedConsentIds":["C0001","C0002"]}'
        self.tail += self._experiments(device)

    def _android(self, device: random.Random) -> None:
        maker, model, name, width, height, density, version = device.choice(PHONES)
        advertising = f'"adTrackingEnabled":true,"advertisingId":"{uuid(device.getrandbits(128))}",'
        advertising = advertising if device.random() < 0.35 else ""
        self.before = (
            f',"app":{{"build":"{400 + device.randrange(90)}","name":"Example Shop","namespace":"com.example.shop",'
            f'"version":"4.{device.randrange(9)}.0"}},"device":{{"id":"{self.anonymous_id}",{advertising}'
            f'"manufacturer":"{maker}","model":"{model}","name":"{name}","type":"Android"}},"library":{{"name":'
            f'"com.rudderstack.android.sdk.core","version":"{"1.0.21" if self.legacy else "1.25.1"}"}},'
            f'"locale":"{device.choice(LOCALES)}"'
        )
        carrier, bluetooth = device.choice(CARRIERS), "true" if device.random() < 0.3 else "false"
        self.networks = tuple(
            f',"network":{{"carrier":"{carrier}","bluetooth":{bluetooth},"cellular":{cellular},"wifi":{wifi}}}'
            for wifi, cellular in (("true", "false"), ("false", "true"))
        )
        self.tail = (
            f',"os":{{"name":"Android","version":"{version}"}},"screen":{{"density":{density},"height":{height},'
            f'"width":{width}}},"timezone":"{device.choice(ZONES)}","userAgent":"Dalvik/2.1.0 (Linux; U; '
            f'Android {version}; {model} Build/UP1A.2310{device.randrange(30):02d})"'
        )
        card = f',"externalId":[{{"type":"loyaltyCard","id":"L{device.randrange(10**8)}"}}]'
        consent = ',"consentManagement":{"provider":"custom","deniedConsentIds":["marketing"]}'
        self.tail += options(device.random, (0.25, f',"ip":"{self.ip}"'), (0.1, card), (0.1, consent))
        self.tail += self._experiments(device)

    def _experiments(self, device: random.Random) -> str:
        """Custom context: what shops add themselves, on some devices only."""
        one_of = [
            f'"experiments":{{"exp_{device.randrange(3)}":"{device.choice("AB")}"}}',
            f'"store":{{"id":{device.randrange(40)},"region":"{device.choice(COUNTRIES)}"}}',
            f'"loadTime":{round(device.random() * 3, 3)}',
        ]
        return "," + device.choices(one_of, (8, 3, 1))[0] if device.random() < 0.15 else ""


@lru_cache(maxsize=20_000)
def user_traits(person: int) -> str:
    """A person's traits as JSON text: the same in every event, some keys only for some people."""
    rng = random.Random(f"person {person}")
    first, last = rng.choice(FIRST_NAMES), rng.choice(LAST_NAMES)
    traits: dict[str, object] = {"email": f"person{person}@example.org"}
    if rng.random() < 0.8:  # has ordered before
        created = iso(START_MS - rng.randrange(10**11))
        traits |= {"firstName": first, "lastName": last, "createdAt": created, "orders": rng.randrange(30)}
    if rng.random() < 0.3:  # has a club card
        city, postcode = rng.choice(CITIES), f"{rng.randrange(10**5):05d}"
        traits |= {"plan": "club", "address": {"city": city, "country": rng.choice(COUNTRIES), "postalCode": postcode}}
        traits["birthday"] = f"{rng.randint(1950, 2005)}-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}"
        traits["loyaltyPoints"] = rng.randrange(900) + rng.choice((0, 0.5))
    if rng.random() < 0.03:
        traits["interests"] = rng.sample(list(CATEGORIES), 2)
    return text(traits)


# Share of each call in 100 events of the web and of the app. Of all: 80 track, 10 page, 4 identify, 3 screen.
CALLS = ("track", "page", "screen", "identify", "group", "alias", "reset")
CALL_SHARES = {True: (78.7, 14.3, 0, 4, 1.2, 0.8, 1), False: (83, 0, 10, 4, 1.2, 0.8, 1)}


def event_lines(events: int, seed: int, *, names: int = 30, days: int = 2, first_day: int = 0) -> Iterator[str]:
    """`events` lines without line ends, in the order of `receivedAt`: evenly over `days` days, of which the first is so
    many days after 2 March 2026."""
    begin = START_MS + first_day * 86_400_000
    rng = random.Random(f"events {seed}")
    r, bits = rng.random, rng.getrandbits
    catalogue, makers, cumulative = event_catalogue(names)
    calls = {web: [share / 100 for share in accumulate(shares)] for web, shares in CALL_SHARES.items()}
    step = days * 86_400_000 / max(events, 1)
    visits = [Visit(rng, begin) for _ in range(max(1, min(3000, events // 20)))]
    for i in range(events):
        received = begin + int(i * step)
        at = int(r() * len(visits))
        v = visits[at]
        v.left -= 1
        if v.left < 0:
            v = visits[at] = Visit(rng, received)
        sent = received - 20 - int(r() * 400)
        # The app collects events while offline: a few arrive hours late.
        waited = int(r() * 3000) if v.web else int(r() * (36e6 if r() < 0.03 else 20_000))
        call = CALLS[min(bisect(calls[v.web], r()), 6)]
        if call == "alias" and v.owner is None:
            call = "track"
        # A page call, or about two other events, to a page.
        page_name, page = v.go(r) if v.fresh or call in ("page", "screen") or r() < 0.4 else v.place
        if call == "track":
            n = bisect(cumulative, r())
            body = f'"properties":{{{makers[n](r, v, received)}}},"event":"{catalogue[n]}"'
        else:
            body = _body(call, r, v, page_name, page)
        start = ',"sessionStart":true' if v.fresh else ""
        v.fresh = False
        middle = f',"page":{{{page}}}' if v.web else v.networks[r() < 0.3]
        message_id = uuid(bits(128))
        if not v.web and v.legacy:
            message_id = f"{sent - waited}-{message_id}"
        user = f'"userId":"{v.user}",' if v.user or v.web else ""  # the web SDK sends an empty userId
        yield (
            f'{{{body},"type":"{call}","channel":"{"web" if v.web else "mobile"}","context":{{"traits":{v.traits},'
            f'"sessionId":{v.session}{start}{v.before}{middle}{v.tail}}},"originalTimestamp":"{iso(sent - waited)}",'
            f'"messageId":"{message_id}",{user}"anonymousId":"{v.anonymous_id}",'
            f'"sentAt":"{iso(sent)}","request_ip":"{v.ip}","receivedAt":"{iso(received)}"}}'
        )


def _body(call: str, r: Draw, v: Visit, page_name: str, page: str) -> str:
    """What only this call has, without braces. Logs the visitor in or out where the call says so."""
    if call == "page":
        load = f',"load_ms":{number(round(r() * 4000, 1), True)}' if r() < 0.2 else ""
        return f'"name":"{page_name}","properties":{{"name":"{page_name}",{page}{load}}}'
    if call == "screen":
        extra = options(r, (0.3, ',"automatic":true'), (0.2, f',"category":"{v.category}"'))
        return f'"event":"{page_name}","properties":{{"name":"{page_name}"{extra}}}'
    if call == "identify":
        if v.owner is None:
            return f'"traits":{{"email":"visitor{v.number}@example.org","newsletter":true}}'
        v.login(v.owner)
        return '"event":""' if v.legacy else f'"traits":{v.traits}'  # the older SDKs have traits in the context only
    if call == "group":
        n = int(r() * 400)
        office = options(r, (0.5, ',"plan":"business","since":"2024-11-05"'), (0.3, f',"creditLimit":{500.5 + n}'))
        return f'"groupId":"company-{n}","traits":{{"name":"Office {n}","employees":{5 + n * 3}{office}}}'
    if call == "alias" and v.owner is not None:
        v.login(v.owner)
        return f'"previousId":"{v.anonymous_id if r() < 0.8 else f"lead-{v.owner:06d}"}"'
    v.logout()
    return '"properties":{"reason":"logout"}' if r() < 0.5 else '"properties":{}'


@contextmanager
def _sink(path: Path, gzip: bool) -> Iterator[Callable[[bytes], object]]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        if not gzip:
            yield file.write
            return
        # zlib's own gzip header has no time and no name: the same events are the same bytes.
        packer = zlib.compressobj(6, zlib.DEFLATED, 31)
        yield lambda block: file.write(packer.compress(block))
        file.write(packer.flush())


def _write_lines(path: Path, lines: Iterator[str], count: int, gzip: bool) -> None:
    with _sink(path, gzip) as put:
        while block := list(islice(lines, min(2000, count))):
            put(("\n".join(block) + "\n").encode())
            count -= len(block)


def write(
    path: Path, events: int, seed: int, *, names: int = 30, days: int = 2, first_day: int = 0, gzip: bool = False
) -> None:
    """Write one file of `events` lines."""
    _write_lines(path, event_lines(events, seed, names=names, days=days, first_day=first_day), events, gzip)


def write_files(
    folder: Path, events: int, seed: int, files: int, *, names: int = 30, days: int = 2, gzip: bool = False
) -> None:
    """Write the same lines as `write`, in order, over `files` files in `folder`."""
    lines = event_lines(events, seed, names=names, days=days)
    for i in range(files):
        count = events * (i + 1) // files - events * i // files
        _write_lines(folder / f"events-{i + 1:04d}.jsonl{'.gz' if gzip else ''}", lines, count, gzip)


def main() -> None:
    parser = argparse.ArgumentParser(description="Write made-up shop events as newline-delimited JSON.")
    parser.add_argument("--events", type=int, required=True, help="how many events")
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same bytes (default 1)")
    parser.add_argument("--out", type=Path, required=True, help="the file; the folder with --files above 1")
    parser.add_argument("--files", type=int, default=1, help="spread the events over so many files (default 1)")
    parser.add_argument("--gzip", action="store_true", help="compress")
    parser.add_argument("--days", type=int, default=2, help="days that receivedAt runs over (default 2)")
    parser.add_argument("--names", type=int, default=30, help="number of event names (default 30)")
    args = parser.parse_args()
    if args.events < 0 or min(args.files, args.days, args.names) < 1:
        parser.error("--events must not be negative; --files, --days and --names must be at least 1")
    put = partial(write_files, files=args.files) if args.files > 1 else write
    put(args.out, args.events, args.seed, names=args.names, days=args.days, gzip=args.gzip)


if __name__ == "__main__":
    main()
