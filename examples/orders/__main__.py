"""A day in the shop: the orders come, some are stuck, a clerk mends them. `python -m examples.orders`."""

import argparse
import asyncio
import gzip
import logging

from examples.orders.app import build, open_books
from examples.orders.events import Card, Order
from examples.orders.generate import FEED
from examples.orders.report import report
from necrostack import Backend, DeadLetter, Event, NecroStackError, open_backend


async def day(backend: Backend) -> None:
    """Run the feed, print the books; mend the dead letters, and print them again."""
    books, provider = open_books()
    with gzip.open(FEED) as lines:
        events = [Event.from_json(line) for line in lines]
    async with build(books, provider).with_backend(backend).with_settings(max_outage=5.0) as spine:
        await spine.run_until_idle(*events)
        print("In the evening:\n")
        print(report(books, provider))
        letters = [letter async for letter in backend.admin.dead_letters()]
        for letter in letters:
            order = mended(letter)
            print(f"dead letter of {letter.organ}: {letter.error}; order {order.order} is mended and redriven")
            await backend.admin.redrive(letter.id, payload=order.model_dump(mode="json"))
        await spine.run_until_idle()
        print("\nAnd when the clerk has gone home:\n")
        print(report(books, provider))


def mended(letter: DeadLetter) -> Order:
    """What the clerk does: somebody typed an O for a zero."""
    assert letter.event is not None
    order: Order = letter.event.payload
    assert isinstance(order.means, Card)
    return order.model_copy(update={"means": Card(number=order.means.number.replace("O", "0"))})


def main(argv: list[str] | None = None) -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(prog="python -m examples.orders", description=__doc__)
    parser.add_argument("--backend", metavar="URL", default="memory://", help="where events are kept")
    try:
        asyncio.run(day(open_backend(parser.parse_args(argv).backend)))
    except NecroStackError as error:  # a wrong URL, or nobody who answers there
        parser.exit(1, f"{parser.prog}: {error}\n")


if __name__ == "__main__":
    logging.getLogger("necrostack").addHandler(logging.NullHandler())  # `necrostack run` shows what is logged
    main()
