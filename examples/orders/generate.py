"""Make orders.ndjson.gz: `python -m examples.orders.generate`. The seed makes the same lines each time.

The orders are invented; what is in them is what a shop sees: six articles, three means of payment, cards that are
declined, card numbers with an O for a zero, an article that is sold out, transfers that come late or never.
"""

import gzip
import json
import random
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

FEED = Path(__file__).parent / "orders.ndjson.gz"
PRICES = {"teapot": 3490, "cup": 790, "kettle": 5990, "green tea": 1250, "black tea": 990, "blue teapot": 4490}
NAMES = ["Ada", "Bea", "Cem", "Dao", "Eli", "Fay", "Gil", "Hana", "Ivo", "Juno", "Kai", "Lea", "Mio", "Noa", "Uma"]


def line(event_type: str, payload: dict[str, Any]) -> dict[str, Any]:
    """One line of the feed. Its id says what it is about, so that it can be fed again."""
    identity = uuid5(NAMESPACE_URL, f"example:orders/{event_type}/{payload['order']}")
    return {"id": str(identity), "event_type": event_type, "payload": payload}


def lines(orders: int = 120, seed: int = 2026) -> list[dict[str, Any]]:
    """Invent `orders` orders, and the money that comes for some of them."""
    chance = random.Random(seed)  # noqa: S311 -- to be the same each time
    found: list[tuple[float, dict[str, Any]]] = []
    for number in range(1, orders + 1):
        bought = chance.sample([*PRICES], k=chance.choice((1, 1, 2, 3)), counts=(6, 9, 3, 8, 8, 1))
        pieces = {sku: chance.randint(1, 4) for sku in bought}
        basket = [{"sku": sku, "pieces": count, "price": PRICES[sku]} for sku, count in pieces.items()]
        kind = chance.choices(("card", "transfer", "gift card"), (14, 4, 2))[0]
        means = {"kind": kind} | {
            "card": {"number": card(chance)},
            "transfer": {"iban": f"XX{chance.randrange(10**18):018}"},
            "gift card": {"code": f"GIFT-{chance.randrange(10**6):06}"},
        }[kind]
        order = {"order": number, "customer": chance.choice(NAMES), "lines": basket, "means": means}
        found.append((number, line("ORDER_RECEIVED", order)))
        if kind == "transfer" and chance.random() < 0.7:
            cents = sum(count * PRICES[sku] for sku, count in pieces.items())
            found.append((number + chance.uniform(1, 30), line("MONEY_ARRIVED", {"order": number, "cents": cents})))
    return [event for _, event in sorted(found, key=lambda pair: pair[0])]


def card(chance: random.Random) -> str:
    """A card number. One in twelve is declined, one in twenty was typed with an O for a zero."""
    number = f"{chance.randrange(4 * 10**15, 5 * 10**15 - 10**4)}"
    fate = chance.random()
    if fate < 1 / 12:
        return f"{number[:-4]}0000"
    wrong = f"{number[:7]}O{number[8:]}"
    return wrong if fate > 19 / 20 else f"{number[:-1]}7"


def write(feed: Path) -> int:
    """Write the feed, and return how many lines it has; no clock and no name goes into the gzip header."""
    made = lines()
    with feed.open("wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as packed:
        packed.write("".join(json.dumps(item, separators=(",", ":")) + "\n" for item in made).encode())
    return len(made)


if __name__ == "__main__":
    print(f"{FEED}: {write(FEED)} lines")
