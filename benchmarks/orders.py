"""The work that every system of a benchmark is given, and the check that it did all of it exactly once."""

from pydantic import BaseModel, JsonValue


class Item(BaseModel, frozen=True):
    """One line of an order."""

    sku: str
    title: str
    quantity: int
    cents: int


class Order(BaseModel, frozen=True):
    """What each event carries: 297 bytes of JSON, three nested models."""

    order_id: str
    customer: str
    currency: str
    cents: int
    items: tuple[Item, ...]


def order_id(number: int) -> str:
    """Name the order with this number."""
    return f"order-{number:08d}"


def order_number(name: str) -> int:
    """Say which number an order has.

    >>> order_number(order_id(7))
    7
    """
    return int(name.removeprefix("order-"))


def order_fields(name: str) -> dict[str, JsonValue]:
    """Make the unvalidated fields of one order, as they would come out of a request."""
    return {
        "order_id": name,
        "customer": "Mary Wollstonecraft Godwin",
        "currency": "EUR",
        "cents": 7450,
        "items": [
            {"sku": "BONE-001", "title": "Femur", "quantity": 2, "cents": 1250},
            {"sku": "SKULL-07", "title": "Cranium", "quantity": 1, "cents": 3950},
            {"sku": "TOOTH-32-XL", "title": "Molar", "quantity": 120, "cents": 50},
        ],
    }


def new_order(name: str) -> Order:
    """Build and validate one order: the user's own share of the work, the same in every system."""
    return Order.model_validate(order_fields(name))


class Tally:
    """Counts, for each handler and order, how often the handler ran for it.

    Attributes:
        handlers: How many handlers there are.
    """

    def __init__(self, handlers: int) -> None:
        self.handlers = handlers
        self._counts: list[dict[str, int]] = [{} for _ in range(handlers)]

    def count(self, name: str, handler: int = 0) -> None:
        """Say that the handler with this number ran for this order."""
        counts = self._counts[handler]
        counts[name] = counts.get(name, 0) + 1

    def is_exact(self, n: int) -> bool:
        """Whether each of the orders 0 to n - 1, and no other, was handled exactly once by every handler."""
        once = {order_id(number): 1 for number in range(n)}
        return all(counts == once for counts in self._counts)
