"""The sample data: a week of a small shop for tea and coffee, made up, and the totals a loader must find in it.

`python sample_data/generate.py` writes `events/`, `totals.json` and the table in `README.md`; nothing in it depends on
the clock or on hashing, so it writes the same bytes again. (The bytes of the `.gz` files are those of CPython's usual
zlib; other deflate libraries pack the same lines differently.)

The totals are counted from the finished files by the rules of the warehouse schema, not while making the events. Only
the discards are what was put in on purpose.
"""

import argparse
import gzip
import hashlib
import json
import random
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).parent
SECOND, MINUTE, HOUR, DAY = 1000, 60_000, 3_600_000, 86_400_000
START = int(datetime(2026, 3, 2, tzinfo=UTC).timestamp()) * SECOND
DAYS = 7

Json = dict[str, object]

# Source ids as in the folders of RudderStack, and how many hours of events a file holds.
RUDDER_SOURCES = {
    "web": ("2vKx9WebShop0f3TqL8ZrYb1NcD", 8),
    "android": ("2vKxAAndroid7Yt5RmPq2LsEh0k", 24),
    "ios": ("2vKxBiOSapp4Wd8JnVu6GtCz3Qe", 24),
    "server": ("2vKxCServer9Hb2XfKa5MoDi7Ru", 24),
}

CALL_TABLES = {
    "track": "tracks",
    "identify": "identifies",
    "page": "pages",
    "screen": "screens",
    "group": "groups",
    "alias": "aliases",
    "reset": "resets",
}
# Written out, so that the totals don't share a mistake with the code that they check.
EVENT_TABLES = {
    "Application Opened": "application_opened",
    "Article Read": "article_read",
    "Cart Viewed": "cart_viewed",
    "Checkout Started": "checkout_started",
    "Checkout: Step 2 → Zahlung ✓": "checkout_step_2_zahlung",
    "Coupon Applied": "coupon_applied",
    "Newsletter Subscribed": "newsletter_subscribed",
    "Order": "_order",
    "Order Completed": "order_completed",
    "Order Shipped": "order_shipped",
    "Product Added": "product_added",
    "Product List Viewed": "product_list_viewed",
    "Product Removed": "product_removed",
    "Product Reviewed": "product_reviewed",
    "Product Viewed": "product_viewed",
    "Products Searched": "products_searched",
    "Signed Up": "signed_up",
    "order_completed": "order_completed",
    "商品を見た": "商品を見た",
}
UNNAMED_EVENTS = ("", "🎉")

SITE, MAGAZINE = "https://shop.example.com", "https://magazine.example.org"
PRODUCTS: list[tuple[str, str, str, float]] = [
    ("p-101", "Darjeeling First Flush", "tea", 14.9),
    ("p-102", "Sencha Uji", "tea", 12.0),
    ("p-103", "Rooibos Vanille", "tea", 7.5),
    ("p-104", "Earl Grey", "tea", 8.9),
    ("p-201", "Espresso Nero", "coffee", 11.5),
    ("p-202", "Café Crème", "coffee", 10.0),
    ("p-203", "Decaf", "coffee", 12.5),
    ("p-204", "Yirgacheffe", "coffee", 16.0),
    ("p-301", "Hand Grinder", "kitchen", 79.0),
    ("p-302", "Gooseneck Kettle", "kitchen", 64.95),
    ("p-303", "Moka Pot", "kitchen", 32.0),
    ("p-304", 'Scale "Feather"', "kitchen", 45.5),
    ("p-401", "Tea Bowl", "cups", 18.0),
    ("p-402", "Travel Mug", "cups", 24.9),
    ("p-403", "Espresso Cup", "cups", 9.0),
    ("p-501", "Tasting Box", "gifts", 39.0),
]
FIRST_NAMES = """Ada Bruno Chloé Dario Elif Farid Greta Hana Ines Jonas Kofi Lena Mateo Nora Olu Priya Quentin Rosa Sven
Tilda Umar Vera Wim Yara Zofia""".split()
LAST_NAMES = """Alves Becker Costa Dubois Eriksen Fischer García Haddad Iwasaki Jansen Kowalski Lindqvist Møller Novák
Okafor Petit Rossi Sato Tanaka Vogel""".split()
CITIES = [("Berlin", "10115", "DE"), ("München", "80331", "DE"), ("Graz", "08010", "AT"), ("Leeds", "LS1 4AP", "GB")]
CITIES += [("Lyon", "69001", "FR"), ("Łódź", "90-001", "PL"), ("Malmö", "21119", "SE")]
SEARCHES = ("green tea", "grinder", "decaf", "gift under 40", "kettle", "moka pot 6 cups")
BROWSERS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/133.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.3 "
    "Safari/605.1.15",
    "Mozilla/5.0 (X11; Linux x86_64; rv:135.0) Gecko/20100101 Firefox/135.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_3 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.3 "
    "Mobile/15E148 Safari/604.1",
)
WINDOWS = ((1920, 1080, 1), (1440, 900, 2), (2560, 1440, 1.25), (390, 844, 3))
LOCALES = ("de-DE", "de-AT", "en-GB", "fr-FR", "pl-PL", "sv-SE")
PHONES = (
    ("Google", "Pixel 8", "shiba", "15"),
    ("samsung", "SM-S911B", "dm1q", "14"),
    ("Fairphone", "FP5", "FP5", "14"),
)
REFERRERS = ("$direct", "https://search.example.org/?q=tea", f"{MAGAZINE}/brewing", "https://social.example.org/")
CAMPAIGNS: list[Json] = [
    {"source": "newsletter", "medium": "email", "name": "spring_tea"},
    {"source": "search", "medium": "cpc", "name": "brand", "term": "tea shop", "content": "ad-2"},
    {"source": "magazine", "medium": "referral", "name": "brewing"},
]
ADDRESS_PREFIXES = ("192.0.2", "198.51.100", "203.0.113")


def iso(ms: int) -> str:
    return datetime.fromtimestamp(ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{ms % 1000:03d}Z"


def js(value: float) -> float | int:
    """A number as JavaScript sends it: 12.0 is 12."""
    return int(value) if value == int(value) else value


def dumps(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


@dataclass
class Person:
    """Somebody with an account. traits: what the shop knows from the sign-up on."""

    user_id: str
    traits: Json


@dataclass
class Device:
    """Something that sends events. kind: web, web_old, android, android_old, ios or segment."""

    kind: str
    anonymous_id: str
    ip: str
    context: Json
    skew: int = 0  # ms that its clock is ahead
    delay: int = 0  # ms that it keeps events before it sends them

    @property
    def mobile(self) -> bool:
        return self.kind in ("android", "android_old", "ios")

    @property
    def source(self) -> str:
        return {"web_old": "web", "android_old": "android", "segment": "magazine"}.get(self.kind, self.kind)


@dataclass
class Event:
    """One event as it will be written. received: ms since 1970. source: which files it belongs to."""

    received: int
    source: str
    body: Json


@dataclass
class Week:
    """Everything that happens, and the makers of what it happens to."""

    rng: random.Random = field(default_factory=lambda: random.Random("a week in March"))
    events: list[Event] = field(default_factory=list)
    discards: Counter[str] = field(default_factory=Counter)
    orders: int = 0

    def uuid(self) -> str:
        digits = f"{self.rng.getrandbits(128):032x}"
        return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"

    def chance(self, share: float) -> bool:
        return self.rng.random() < share

    def address(self) -> str:
        return f"{self.rng.choice(ADDRESS_PREFIXES)}.{self.rng.randint(1, 254)}"

    def person(self, number: int) -> Person:
        first, last = self.rng.choice(FIRST_NAMES), self.rng.choice(LAST_NAMES)
        city, postcode, country = self.rng.choice(CITIES)
        traits: Json = {"firstName": first, "lastName": last, "email": f"person{number}@example.com"}
        traits["createdAt"] = iso(START - self.rng.randrange(700 * DAY))
        if self.chance(0.6):
            traits["address"] = {"city": city, "postalCode": postcode, "country": country}
        if self.chance(0.5):
            traits["birthday"] = f"{self.rng.randint(1950, 2004)}-{self.rng.randint(1, 12):02d}-17"
        if self.chance(0.5):
            traits["newsletter"] = self.chance(0.5)
        if self.chance(0.4):
            traits["loyaltyPoints"] = self.rng.randrange(900)
        if self.chance(0.3):
            traits["interests"] = self.rng.sample(["tea", "coffee", "cups", "gifts"], 2)
        return Person(f"user-{number}", traits)

    def device(self, kind: str, anonymous_id: str = "") -> Device:
        """A device with the part of `context` that stays the same, in the shape of its SDK."""
        rng = self.rng
        locale = rng.choice(LOCALES)
        if kind in ("android", "android_old"):
            maker, model, name, version = rng.choice(PHONES)
            anonymous_id = anonymous_id or f"{rng.getrandbits(64):016x}"
            context: Json = {
                "app": {"build": "57", "name": "Tea Shop", "namespace": "com.example.shop", "version": "4.2.0"},
                "device": {
                    "id": anonymous_id, "manufacturer": maker, "model": model, "name": name, "type": "Android"
                },
                "library": {"name": "com.rudderstack.android.sdk.core", "version": "1.26.0"},
                "locale": locale,
                "network": {"carrier": "Example", "bluetooth": False, "cellular": True, "wifi": self.chance(0.6)},
                "os": {"name": "Android", "version": version},
                "screen": {"density": 420, "height": 2400, "width": 1080},
                "timezone": "Europe/Berlin",
                "userAgent": f"Dalvik/2.1.0 (Linux; U; Android {version}; {model} Build/AP3A.241105.007)",
            }  # fmt: skip
            if kind == "android_old":
                context["library"] = {"name": "com.rudderstack.android.sdk.core", "version": "1.0.4"}
                context["app"] = {"build": "31", "name": "Tea Shop", "version": "3.0.1"}
        elif kind == "ios":
            anonymous_id = anonymous_id or self.uuid()
            tracking: Json = {"adTrackingEnabled": True, "advertisingId": self.uuid()} if self.chance(0.3) else {}
            context = {
                "app": {"build": "212", "name": "Tea Shop", "namespace": "com.example.shop.ios", "version": "4.2.1"},
                "device": {
                    "attTrackingStatus": 3 if tracking else 2, **tracking, "id": self.uuid().upper(),
                    "manufacturer": "Apple", "model": "iPhone", "name": "iPhone 15", "type": "iOS",
                },
                "library": {"name": "rudder-ios-library", "version": "1.31.0"},
                "locale": locale,
                "network": {"bluetooth": False, "carrier": "unavailable", "cellular": False, "wifi": True},
                "os": {"name": "iOS", "version": "18.3.1"},
                "screen": {"density": 3, "height": 852, "width": 393},
                "timezone": "Europe/Berlin",
            }  # fmt: skip
        else:
            anonymous_id = anonymous_id or self.uuid()
            width, height, density = rng.choice(WINDOWS)
            screen: Json = {"density": density, "width": width, "height": height}
            screen |= {"innerWidth": width, "innerHeight": height - 137}
            name = "RudderLabs JavaScript SDK"
            context = {"userAgent": rng.choice(BROWSERS), "locale": locale}
            if kind == "web":
                context["library"] = {"name": name, "version": "3.17.2", "snippetVersion": "3.0.60"}
                context["app"] = {
                    "name": name, "namespace": "com.rudderlabs.javascript", "version": "3.17.2", "installType": "cdn"
                }  # fmt: skip
                context |= {"os": {"name": "", "version": ""}, "screen": screen, "timezone": "GMT+0100"}
            elif kind == "web_old":
                context["library"] = {"name": name, "version": "1.0.11"}
                context["app"] = {
                    "build": "1.0.0", "name": name, "namespace": "com.rudderlabs.javascript", "version": "1.0.11"
                }  # fmt: skip
                context |= {"device": None, "network": None, "os": {"name": "", "version": ""}}
                context["screen"] = {"density": density}
            else:
                context |= {"library": {"name": "analytics.js", "version": "next-1.77.0"}, "timezone": "Europe/Berlin"}
        return Device(kind, anonymous_id, self.address(), context)

    def put(self, source: str, received: int, body: Json) -> Json:
        """Keep an event, once its times are in it. Gives the event back, so that a story may bend it."""
        self.events.append(Event(received, source, body))
        return body

    def server(self, at: int, call: str, user_id: object, **parts: object) -> Json:
        """An event of the shop's back end: little context, microseconds and an offset in its times."""
        written = iso(at)[:-1] + "417+00:00"
        body: Json = {"type": call, "messageId": self.uuid(), "userId": user_id, "channel": "server", **parts}
        body["context"] = {"library": {"name": "rudder-analytics-python", "version": "2.1.4"}}
        body |= {"originalTimestamp": written, "sentAt": iso(at + 900), "request_ip": "203.0.113.10"}
        body |= {"receivedAt": iso(at + 1100), "timestamp": iso(at + 200)}
        return self.put("server", at + 1100, body)


class Visit:
    """One session on one device: each method sends what the SDK would and lets some time pass."""

    def __init__(self, week: Week, device: Device, at: int, person: Person | None = None, known: bool = False) -> None:
        self.week, self.device, self.person = week, device, person
        self.now = self.began = at
        self.user_id = ""
        self.traits: Json = {}
        self.cart: list[Json] = []
        self.first = True
        self.entry = self.url = week.rng.choice(REFERRERS)
        self.page: Json = {}
        self.campaign = week.rng.choice(CAMPAIGNS) if week.chance(0.2) else {}
        if known and person:
            self.user_id, self.traits = person.user_id, person.traits

    def send(self, call: str, **parts: object) -> Json:
        week, device = self.week, self.device
        self.now += week.rng.randint(4, 45) * SECOND + week.rng.randrange(1000)
        original, waited = self.now + device.skew, device.delay + week.rng.randint(200, 2500)
        received = self.now + waited + week.rng.randint(30, 400)
        times: Json = {
            "originalTimestamp": iso(original),
            "sentAt": iso(original + waited),
            "receivedAt": iso(received),
        }
        traits: Json = dict(self.traits)
        if device.mobile:
            traits = {"anonymousId": device.anonymous_id, **traits}
        context: Json = {"traits": traits, **device.context}
        if device.kind == "segment":
            context = {"ip": device.ip, **device.context, "page": self.page, "campaign": self.campaign}
            body: Json = {"anonymousId": device.anonymous_id, "context": context, "integrations": {}, **parts}
            body |= {"messageId": f"ajs-next-{self.now}-{week.uuid()}", "type": call, "version": 2, **times}
            body["timestamp"] = iso(received - waited)
            if self.user_id:
                body["userId"] = self.user_id
            return week.put("magazine", received, body)
        if device.kind not in ("web_old", "android_old"):
            context["sessionId"] = self.began // SECOND
            if self.first:
                context["sessionStart"] = True
        if not device.mobile:
            context |= {"campaign": self.campaign, "page": self.page}
        self.first = False
        body = {**parts, "type": call, "channel": "mobile" if device.mobile else "web", "context": context}
        body |= {"integrations": {"All": True}, "anonymousId": device.anonymous_id}
        body["messageId"] = f"{self.now}-{week.uuid()}" if device.kind.endswith("_old") else week.uuid()
        if self.user_id or not device.mobile:
            body["userId"] = self.user_id  # the web SDK sends an empty one
        body |= {**times, "request_ip": device.ip}
        if not device.skew and device.kind != "web_old":
            body["timestamp"] = iso(received - waited)
        return week.put(device.source, received, body)

    def view(self, name: str, path: str, **properties: object) -> Json:
        """A page, or in an app a screen. The older SDKs call it `event`."""
        label = "event" if self.device.kind.endswith("_old") else "name"
        if self.device.mobile:
            parts: Json = {"event": name} if self.device.kind == "ios" else {label: name}
            return self.send("screen", **parts, properties={**properties, "automatic": self.week.chance(0.4)})
        site = MAGAZINE if self.device.kind == "segment" else SITE
        referrer, self.url = self.url, site + path
        self.page = {"path": path, "referrer": referrer, "search": "", "title": f"{name} | Example", "url": self.url}
        if self.device.kind == "web":
            self.page |= {"initial_referrer": self.entry, "tab_url": self.url}
        return self.send("page", **{label: name}, properties={**self.page, **properties})

    def track(self, event: str, **properties: object) -> Json:
        return self.send("track", event=event, properties=properties)

    def identify(self, person: Person) -> Json:
        self.user_id, self.traits = person.user_id, person.traits
        # The oldest web SDK sends traits in the context only.
        parts: Json = {} if self.device.kind == "web_old" else {"traits": person.traits}
        return self.send("identify", **parts)

    def sign_up(self, person: Person) -> None:
        person.traits["createdAt"] = iso(self.now)
        if self.device.kind.endswith("_old"):
            self.user_id = person.user_id
            self.send("alias", previousId=self.device.anonymous_id)
        self.identify(person)
        self.track("Signed Up", method=self.week.rng.choice(("password", "link")))

    def reset(self) -> None:
        self.send("reset", properties={"reason": "logout"})
        self.user_id, self.traits = "", {}

    def product(self, index: int) -> Json:
        product_id, name, category, price = PRODUCTS[index]
        sent = price if self.device.mobile else js(price)
        return {"product_id": product_id, "name": name, "category": category, "price": sent, "currency": "EUR"}

    def browse(self, products: int, keen: float) -> None:
        """Look at some products; `keen` is the chance that one goes into the cart."""
        rng = self.week.rng
        if self.device.mobile:
            properties: Json = {"version": "4.2.0", "from_background": self.week.chance(0.5)}
            self.track("Application Opened", **properties)
        self.view("Home", "/")
        for index in rng.sample(range(len(PRODUCTS)), products):
            item = self.product(index)
            choice = rng.random()
            if choice < 0.25:
                self.track("Products Searched", query=rng.choice(SEARCHES), results=rng.randrange(20))
            elif choice < 0.6:
                listed = [self.product(i) for i in sorted(rng.sample(range(len(PRODUCTS)), 3))]
                category = str(item["category"])
                self.view("Category", f"/{category}", category=category)
                self.track("Product List Viewed", list_id=f"list-{category}", category=category, products=listed)
            if self.week.chance(0.6):
                self.view("Product", f"/{item['category']}/{item['product_id']}")
            position: Json = {"position": rng.randint(1, 12)} if self.week.chance(0.3) else {}
            self.track("Product Viewed", **item, **position)
            if self.week.chance(keen):
                self.cart.append({**item, "quantity": rng.randint(1, 3)})
                self.track("Product Added", **self.cart[-1], cart_id=f"cart-{self.began // SECOND}")

    def buy(self) -> None:
        """Check out what is in the cart; the back end sends its own event, and another when the parcel leaves."""
        week, rng = self.week, self.week.rng
        if not self.cart:
            return
        cart_id = f"cart-{self.began // SECOND}"
        if len(self.cart) > 1 and week.chance(0.3):
            self.track("Product Removed", **self.cart.pop(), cart_id=cart_id)
        self.view("Cart", "/cart")
        value = sum(float(str(item["price"])) * int(str(item["quantity"])) for item in self.cart)
        self.track("Cart Viewed", cart_id=cart_id, products=self.cart, value=js(round(value, 2)))
        if week.chance(0.2):
            # Most send the discount as a number, the old app as text.
            text = self.device.kind == "android_old"
            self.track("Coupon Applied", cart_id=cart_id, coupon_id="SPRING10", discount="10 %" if text else 10)
        self.track("Checkout Started", checkout_id=f"co-{self.began // SECOND}", value=js(round(value, 2)))
        if week.chance(0.5):
            self.track("Checkout: Step 2 → Zahlung ✓", payment=rng.choice(("card", "invoice")), step=2)
        if week.chance(0.25):
            return
        week.orders += 1
        # Shipping was free or 5 until Wednesday, and has had cents since. The apps send the order's number as text.
        shipping: float = rng.choice((0, 5)) if self.now < START + 3 * DAY else rng.choice((0, 4.9, 7.5))
        order = 260_300 + week.orders
        total = js(round(value + shipping, 2))
        properties: Json = {"order_id": f"{order}" if self.device.mobile else order, "total": total}
        properties |= {"shipping": shipping, "currency": "EUR", "products": self.cart, "coupon": ""}
        if week.chance(0.4):
            properties["estimated_delivery"] = iso(self.now + 3 * DAY)[:10]
        if week.chance(0.1):
            properties["Gift Wrap?"] = True
        self.track("Order Completed", **properties)
        who = self.user_id or f"guest-{order}"
        paid: Json = {"order_id": order, "total": float(total), "paid_at": iso(self.now), "lines": len(self.cart)}
        week.server(self.now + 3 * SECOND, "track", who, event="order_completed", properties=paid)
        shipped = self.now + rng.randint(18, 40) * HOUR
        if shipped < START + DAYS * DAY - HOUR:
            # A tracking number of 20 digits is no 64-bit integer.
            parcel: Json = {
                "order_id": order,
                "carrier": "Example Post",
                "tracking_number": 34_043_412_345_678_900_000 + order,
            }
            week.server(shipped, "track", who, event="Order Shipped", properties=parcel)


def hour_of(week: Week, day: int) -> int:
    """A moment of a day in opening hours, more often in the evening."""
    hour = week.rng.choices(range(7, 22), (1, 2, 3, 3, 3, 4, 4, 3, 3, 3, 4, 5, 6, 5, 3))[0]
    return START + day * DAY + hour * HOUR + week.rng.randrange(HOUR)


def crowd(week: Week) -> None:
    """Everybody without a story: customers with one or two devices, and visitors who never say who they are."""
    rng = week.rng
    kinds, shares = ("web", "web_old", "android", "android_old", "ios"), (52, 12, 16, 6, 14)
    for number in range(2001, 2121):
        person = week.person(number)
        devices = [week.device(kind) for kind in rng.choices(kinds, shares, k=2 if week.chance(0.25) else 1)]
        member = week.chance(0.6)  # has signed up before; the others do in one of their visits
        known: set[str] = set()  # the devices that are logged in
        for day in sorted(rng.sample(range(DAYS), rng.randint(1, 3))):
            device = rng.choice(devices)
            visit = Visit(week, device, hour_of(week, day), person, device.anonymous_id in known)
            visit.browse(rng.randint(1, 4), 0.4)
            if not visit.user_id and (member or week.chance(0.6)):
                known.add(device.anonymous_id)
                visit.identify(person) if member else visit.sign_up(person)
                member = True
            if visit.user_id and week.chance(0.12):
                company = rng.randrange(6)
                office: Json = {
                    "name": f"Office {company}",
                    "employees": 12 * company + 8,
                    "since": f"2024-0{company + 1}-01",
                }
                visit.send("group", groupId=f"company-{company}", traits=office)
            visit.buy()
            if visit.user_id and week.chance(0.15):
                # Most rate with a number, some with a word.
                rating = rng.choice((3, 4, 5, 5, 4.5)) if week.chance(0.9) else "five stars"
                visit.track(
                    "Product Reviewed", product_id=rng.choice(PRODUCTS)[0], rating=rating, review_body='"Good", 5/5\n'
                )
            if visit.user_id and week.chance(0.15):
                visit.reset()
                known.discard(device.anonymous_id)
    for _ in range(150):
        device = week.device(rng.choices(kinds, shares)[0])
        if device.mobile and week.chance(0.1):
            device.delay = 9 * HOUR  # offline: sent in the night
        if device.kind == "ios" and week.chance(0.2):
            device.skew = 2 * HOUR
        visit = Visit(week, device, hour_of(week, rng.randrange(DAYS)))
        visit.browse(rng.randint(1, 3), 0.15)


def stories(week: Week) -> None:
    """The people that README.md names."""
    at = START + 10 * HOUR
    # One person on three devices. She looks around on the laptop on Monday and signs up there on Tuesday.
    mara = week.person(1001)
    mara.traits |= {"firstName": "Mara", "lastName": "Lindqvist", "email": "mara@example.com", "birthday": "1990-02-30"}
    laptop = week.device("web", "a1000000-1001-4000-a000-000000000001")
    phone, tablet = (
        week.device("android", "a1001b0000000002"),
        week.device("ios", "A1000000-1001-4000-A000-000000000003"),
    )
    Visit(week, laptop, at).browse(3, 0)
    visit = Visit(week, laptop, at + DAY)
    visit.browse(2, 1)
    visit.sign_up(mara)
    visit.buy()
    for device, day in ((phone, 2), (tablet, 4), (phone, 5)):
        visit = Visit(week, device, at + day * DAY, mara, known=day == 5)
        visit.browse(2, 0.8)
        if day != 5:
            visit.identify(mara)
        visit.buy()

    # A chain of aliases: device -> guest id of the checkout -> account; and the number of the ERP -> account.
    tomas = week.person(1002)
    visit = Visit(week, week.device("web", "a1000000-1002-4000-a000-000000000001"), at + 2 * HOUR)
    visit.browse(2, 1)
    visit.user_id = "temp-7f3a"
    visit.send("alias", previousId=visit.device.anonymous_id)
    visit.buy()
    visit = Visit(week, visit.device, at + 2 * DAY)
    visit.browse(1, 0)
    visit.user_id = "user-1002"
    visit.send("alias", previousId="temp-7f3a")
    visit.identify(tomas)
    week.server(at + 3 * DAY, "alias", "user-1002", previousId="erp-55012")
    week.server(
        at + 3 * DAY + MINUTE, "track", "erp-55012", event="Order", properties={"number": "55012/7", "total": 61.4}
    )
    week.server(at + 5 * DAY, "track", "erp-55012", event="Order", properties={"number": "55012/8", "total": 18.0})

    # The kiosk in the store: one device, five people, a reset after each; on Thursday somebody forgets it.
    people = [week.person(number) for number in range(1003, 1008)]
    kiosk = week.device("web", "kiosk-berlin-01")
    kiosk.ip, kiosk.context["store"] = "198.51.100.7", {"id": 1, "city": "Berlin"}
    for day in range(DAYS):
        for turn in range(4):
            visit = Visit(week, kiosk, START + day * DAY + (9 + 2 * turn) * HOUR + week.rng.randrange(HOUR))
            first = len(week.events)
            visit.view("Kiosk Start", "/kiosk")
            if turn != 2:  # the third looks only, and is nobody
                visit.identify(people[(day + turn) % 5])
            visit.browse(week.rng.randint(1, 2), 0.7)
            visit.buy()
            if visit.user_id and (day, turn) != (3, 1):
                visit.reset()
            for event in week.events[first:]:
                event.source = "kiosk" if event.source == "web" else event.source

    # A family's tablet: two people, no reset.
    parents = [week.person(1008), week.person(1009)]
    tablet = week.device("android", "a1008b0000000001")
    for day, who in ((0, 0), (1, 1), (1, 0), (4, 1), (6, 0)):
        visit = Visit(week, tablet, at + day * DAY + (5 + who) * HOUR)
        visit.browse(1, 0.5)
        visit.identify(parents[who])
        visit.browse(1, 0.5)
        visit.buy()

    # A hub: the call centre links every caller's order to its own account.
    for n in range(12):
        week.server(at + n // 2 * DAY + n * MINUTE, "alias", "callcentre", previousId=f"caller-{n:02d}")

    # A tourist: an event name without a Latin letter.
    visit = Visit(week, week.device("web"), at + 3 * DAY)
    visit.view("ホーム", "/ja")
    for index in (1, 12, 14):
        visit.track("商品を見た", **visit.product(index))

    # Readers of the magazine, which uses another vendor's SDK; some leave an address, nobody logs in.
    for n in range(30):
        visit = Visit(week, week.device("segment"), hour_of(week, n % DAYS))
        for article in week.rng.sample(["brewing", "water", "history", "storage"], week.rng.randint(1, 3)):
            visit.view("Article", f"/{article}")
            visit.track(
                "Article Read", article=article, seconds=week.rng.randint(5, 400), scrolled=round(week.rng.random(), 2)
            )
        if n % 4 == 0:
            visit.send("identify", traits={"email": f"reader{n}@example.org", "newsletter": "yes"})
            visit.track("Newsletter Subscribed", list="weekly", consent_at=iso(visit.now))


def trouble(week: Week) -> None:
    """What goes wrong in real shops: ids that are none, values of the wrong kind, names that are missing."""
    at = START + 13 * HOUR
    # An app that sends the text "null" as user id, a shop page that sends "undefined", a back end without ids.
    visit = Visit(week, week.device("android_old"), at)
    visit.user_id = "null"
    visit.browse(2, 0)
    visit = Visit(week, week.device("web_old"), at + DAY)
    visit.user_id = "undefined"
    visit.browse(2, 0)
    for n in range(3):
        nobody = week.server(
            at + 2 * DAY + n * HOUR, "track", "", event="Order", properties={"number": f"POS-{n}", "total": 9}
        )
        nobody |= {"anonymousId": "00000000-0000-0000-0000-000000000000", "type": "Track"}
    week.server(at + 3 * DAY, "track", " user-2001 ", event="Order", properties={"number": "POS-8", "total": 12})
    week.server(at + 3 * DAY + HOUR, "track", 4711, event="Order", properties={"number": "POS-9", "total": 30})

    visit = Visit(week, week.device("web"), at + 4 * DAY)
    visit.view("Home", "/")
    visit.send("page", properties={**visit.page, "utm": []})  # no name
    visit.track("", clicked="banner")
    visit.send("track", properties={"clicked": "logo"})
    visit.track("🎉", confetti=120)
    # An address as text where others have an object, points with a fraction where others have none.
    odd = week.person(1010)
    odd.traits |= {"address": "Hauptstraße 1, 10115 Berlin", "loyaltyPoints": 12.5, "email": "odd@example.com"}
    visit.identify(odd)

    # Values that cannot become a cell, each of which a loader has to say something about.
    visit.track("Product Viewed", **visit.product(0), productId="p-999")  # two keys for one column
    visit.track("Product Viewed", **visit.product(1), productId="p-998")
    week.discards["name_collision"] += 2
    visit.track("Product Viewed", **visit.product(2), id="row-17")  # a key of the user's on the id of the event
    week.discards["rule_column"] += 1
    visit.send("track", event="Cart Viewed", properties="none")
    week.discards["not_an_object"] += 1
    visit.track("Product Viewed", **{**visit.product(3), "€": 8.9})
    week.discards["unnameable_key"] += 1
    visit.track("Product Viewed", **visit.product(4))["originalTimestamp"] = "yesterday"
    week.discards["bad_timestamp"] += 1
    # The same messageId for two calls: both stay.
    visit.send("identify", traits=odd.traits)["messageId"] = "shared-by-two-calls"
    visit.track("Signed Up", method="link")["messageId"] = "shared-by-two-calls"


def files_of(week: Week) -> dict[str, list[bytes]]:
    """The lines of each file by its path, in the order of arrival; then duplicates, blank and broken lines."""
    rng = week.rng
    files: dict[str, list[bytes]] = defaultdict(list)
    stamps: dict[tuple[str, int], str] = {}
    for event in sorted(week.events, key=lambda e: (e.received, str(e.body["messageId"]))):
        day = iso(event.received)[:10]
        if not START <= event.received < START + DAYS * DAY:
            raise ValueError(f"an event is outside of the week: {iso(event.received)}")
        if event.source not in RUDDER_SOURCES:
            files[f"export/{event.source}-{day}.jsonl"].append(dumps(event.body))
            continue
        source_id, hours = RUDDER_SOURCES[event.source]
        window = event.received // (hours * HOUR)
        if (event.source, window) not in stamps:
            seconds = (window + 1) * hours * 3600 - 1
            path = f"rudder-logs/{source_id}/{day}/{seconds}.{source_id}.{week.uuid()}.json.gz"
            stamps[event.source, window] = path
        files[stamps[event.source, window]].append(dumps(event.body))

    redeliver(
        rng, files, [[stamps["web", START // (8 * HOUR) + 3 * day + part] for part in (1, 2)] for day in range(DAYS)]
    )
    server = [stamps["server", START // DAY + day] for day in range(DAYS)]
    # On Saturday the back end's events came as the bodies of its requests.
    files["export/server-batches-2026-03-07.jsonl"] = envelopes(files.pop(server[5]))
    broken(rng, files)
    # No messageId: the line itself is the id, so the second is a duplicate of the first, and the third is not.
    for path, number in ((server[1], 1), (server[1], 1), (server[1], 2)):
        line = {"type": "track", "userId": "erp-55012", "event": "Order", "properties": {"number": f"no id {number}"}}
        files[path].append(dumps({**line, "receivedAt": "2026-03-03T22:00:00.000Z"}))
    return dict(files)


def redeliver(rng: random.Random, files: dict[str, list[bytes]], web: list[list[str]]) -> None:
    """Duplicates: an upload tried twice, an SDK that got no answer and sent again, and neighbours in one file.

    web: for each day the files of 8 to 16 and 16 to 24 o'clock.
    """
    files[web[3][0]] += files[web[2][1]][-60:]
    for day in (1, 5):
        for line in files[web[day][0]][::8]:
            event = json.loads(line)
            again = int(datetime.fromisoformat(event["receivedAt"]).timestamp() * 1000) + 8 * HOUR
            event |= {"sentAt": iso(again - 250), "receivedAt": iso(again)}
            files[web[day][1]].append(dumps(event))
    for path in (web[3][1], web[6][1]):
        for at in sorted(rng.sample(range(len(files[path])), 6), reverse=True):
            files[path].insert(at + 1, files[path][at])


def envelopes(lines: list[bytes]) -> list[bytes]:
    """Batches of up to 20. The elements have no `sentAt` of their own: they take the envelope's."""
    bodies = []
    for at in range(0, len(lines), 20):
        batch = [json.loads(line) for line in lines[at : at + 20]]
        sent = max(event.pop("sentAt") for event in batch)
        bodies.append(dumps({"batch": batch, "sentAt": sent}))
    element = json.loads(lines[0]) | {"type": "metric"}
    bodies.append(dumps({"batch": [element, 17, None], "sentAt": "2026-03-07T20:00:00.000Z"}))
    bodies.append(b'{"batch":[],"sentAt":"2026-03-07T20:00:01.000Z"}')
    bodies.append(b'{"batch":{"type":"track"},"sentAt":"2026-03-07T20:00:02.000Z"}')
    return bodies


def broken(rng: random.Random, files: dict[str, list[bytes]]) -> None:
    """Lines that are no events, and blank ones."""
    kiosk = files["export/kiosk-2026-03-05.jsonl"]
    cut = kiosk[3]
    bad = [
        cut[: len(cut) // 2],
        cut + b"}",
        b"<html><body>502 Bad Gateway</body></html>",
        b"[]",
        b'"event"',
        dumps({**json.loads(cut), "type": "heartbeat"}),
        dumps({**json.loads(cut), "type": None}),
        dumps({key: value for key, value in json.loads(cut).items() if key != "type"}),
        cut.replace(b"Berlin", "Müllerstraße".encode("latin-1")),
    ]
    for line in bad:
        kiosk.insert(rng.randrange(len(kiosk)), line)
    magazine = files["export/magazine-2026-03-04.jsonl"]
    magazine.insert(2, magazine[1][:700])
    for path, blanks in (
        ("kiosk-2026-03-05", (b"", b"   ")),
        ("kiosk-2026-03-08", (b"",)),
        ("magazine-2026-03-04", (b"", b"\t")),
    ):
        for blank in blanks:
            lines = files[f"export/{path}.jsonl"]
            lines.insert(rng.randrange(len(lines)), blank)


def packed(path: str, lines: list[bytes]) -> bytes:
    """The bytes of a file. One has the line ends of Windows, one no line end at its end."""
    if path == "export/magazine-2026-03-04.jsonl":
        return b"".join(line + b"\r\n" for line in lines)
    data = b"\n".join(lines) + (b"" if path == "export/kiosk-2026-03-07.jsonl" else b"\n")
    return gzip.compress(data, 9, mtime=0) if path.endswith(".gz") else data


# --- what a loader must find -----------------------------------------------------------------------------------------


@dataclass
class Book:
    """The count of one file: lines = blank + read; items = loaded + duplicates + rejected."""

    lines: int = 0
    blank: int = 0
    items: int = 0
    loaded: int = 0
    duplicates: int = 0
    rejected: int = 0


@dataclass
class Found:
    """An event in a file. rank: the smallest of those with the same key is loaded."""

    key: tuple[str, str]
    rank: tuple[str, str, int, int]
    event: Json


def judge(item: object) -> str:
    """The reason for which a line or batch element is rejected; empty for an event."""
    if not isinstance(item, dict):
        return "not_an_object"
    if "type" in item:
        return "" if str(item["type"]).lower() in CALL_TABLES else "unknown_type"
    return "missing_type"


def read(line: bytes) -> tuple[str, list[object]]:
    """A line → a reason to reject it, or its items: itself, or the elements of a batch."""
    try:
        item = json.loads(line.decode())
    except UnicodeDecodeError:
        return "invalid_utf8", []
    except json.JSONDecodeError:
        return "invalid_json", []
    if isinstance(item, dict) and "type" not in item and "batch" in item:
        if not isinstance(item["batch"], list):
            return "bad_batch", []
        return ("", item["batch"]) if item["batch"] else ("empty_batch", [])
    return judge(item), [item]


def count(folder: Path) -> Json:
    """Read the files back and count, in plain Python, what the warehouse schema makes of them."""
    books: dict[str, Book] = {}
    rejects: Counter[str] = Counter()
    found: list[Found] = []
    for path in sorted(folder.rglob("*.json*")):
        name = path.relative_to(folder).as_posix()
        book = books[name] = Book()
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        for number, line in enumerate(data.removesuffix(b"\n").split(b"\n"), 1):
            book.lines += 1
            if not line.strip(b" \t\r"):
                book.blank += 1
                continue
            reason, items = read(line)
            book.items += max(len(items), 1)
            reasons = [judge(item) for item in items] if not reason else [reason]
            for element, (item, why) in enumerate(zip(items or [None], reasons, strict=True)):
                if why or not isinstance(item, dict):
                    rejects[why] += 1
                    book.rejected += 1
                    continue
                call = str(item["type"]).lower()
                own = str(item.get("messageId") or "").strip() or "auto-" + hashlib.sha256(line).hexdigest()[:32]
                found.append(Found((call, own), (str(item["receivedAt"]), name, number, element), item))
    winners: dict[tuple[str, str], Found] = {}
    for one in sorted(found, key=lambda f: f.rank):
        kept = winners.setdefault(one.key, one) is one
        book = books[one.rank[1]]
        book.loaded += kept
        book.duplicates += not kept
    calls, tables, dates, users, other = Counter[str](), Counter[str](), Counter[str](), set(), 0
    for (call, _), one in winners.items():
        calls[CALL_TABLES[call]] += 1
        dates[one.rank[0][:10]] += 1
        name = str(one.event.get("event") or "")
        if call == "track" and name in UNNAMED_EVENTS:
            other += 1
        elif call == "track":
            tables[EVENT_TABLES[name]] += 1
        elif call == "identify" and one.event.get("userId"):
            users.add(one.event["userId"])
    total = {key: sum(getattr(book, key) for book in books.values()) for key in Book.__dataclass_fields__}
    return {
        "files": len(books),
        **total,
        "rejects": dict(sorted(rejects.items())),
        "call_tables": {table: calls[table] for table in CALL_TABLES.values()},
        "event_tables": dict(sorted(tables.items())),
        "other_events": other,
        "users": len(users),
        "loaded_by_received_date": dict(sorted(dates.items())),
        "by_file": {name: vars(book) for name, book in books.items()},
    }


def table(totals: Json) -> str:
    """The totals as Markdown, for the README."""

    def rows(title: str, values: object) -> Iterator[str]:
        yield f"| **{title}** | |"
        for name, number in values.items() if isinstance(values, dict) else ():
            yield f"| `{name}` | {number:,} |"

    lines = ["| | |", "|---|---:|"]
    for key in ("files", "lines", "blank", "items", "loaded", "duplicates", "rejected"):
        lines.append(f"| {key} | {totals[key]:,} |")
    lines += rows("rows of the call tables", totals["call_tables"])
    lines += rows("rows of the event tables", totals["event_tables"])
    lines += rows("other rows", {"other_events": totals["other_events"], "users": totals["users"]})
    lines += rows("rejects by reason", totals["rejects"])
    lines += rows("discards by reason", totals["discards"])
    return "\n".join(lines)


def write(out: Path) -> Json:
    """Write `events/` and `totals.json` below `out`, the table of a README.md that is there, and give the totals."""
    week = Week()
    parts: tuple[Callable[[Week], None], ...] = (crowd, stories, trouble)
    for part in parts:
        part(week)
    events = out / "events"
    if events.exists():
        shutil.rmtree(events)
    for path, lines in sorted(files_of(week).items()):
        file = events / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(packed(path, lines))
    totals = count(events)
    totals["discards"] = dict(sorted(week.discards.items()))
    (out / "totals.json").write_bytes((json.dumps(totals, indent=2, ensure_ascii=False) + "\n").encode())
    readme = out / "README.md"
    if readme.exists():
        before, _, rest = readme.read_bytes().decode().partition("<!-- totals -->\n")
        _, _, after = rest.partition("<!-- end of totals -->")
        text = f"{before}<!-- totals -->\n{table(totals)}\n<!-- end of totals -->{after}"
        readme.write_bytes(text.encode())
    return totals


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the sample data anew.")
    parser.add_argument("--out", type=Path, default=HERE, help="the folder to write to (default: the script's own)")
    totals = write(parser.parse_args().out)
    print(f"{totals['files']} files, {totals['lines']} lines, {totals['loaded']} events")


if __name__ == "__main__":
    main()
