"""The report: how the orders ended, and whether the books add up."""

from collections import Counter

from examples.orders.books import Books
from examples.orders.provider import Provider


def report(books: Books, provider: Provider) -> str:
    """Write it in a few lines."""
    states, balances = Counter(books.states().values()), books.balances()
    ours, theirs = balances.get("provider", 0), sum(provider.moved().values())
    differ = f"THAT IS {_euros(abs(theirs - ours))} {'MORE' if theirs > ours else 'LESS'} THAN OUR BOOKS SAY"
    verdict = "as our books say" if ours == theirs else differ
    return "\n".join(
        [
            f"{sum(states.values()):>6} orders",
            *(f"{number:>10} {state}" for state, number in states.most_common()),
            "",
            *(f"  {account:<12}{_euros(cents):>12}" for account, cents in balances.items()),
            f"  {'sum':<12}{_euros(sum(balances.values())):>12}",
            "",
            f"  the provider says it moved {_euros(theirs)}, {verdict}",
            "",
        ]
    )


def _euros(cents: int) -> str:
    return f"{cents / 100:,.2f} €"
