"""Plain honest-looking orders for tests of the stream; not a simulation."""

import random
from collections.abc import Iterator

from orders.events import Instant, Order, encoder
from preempt.traffic import Sent

START = 1_760_000_000_000  # UTC ms


def plain_orders(n: int, seed: int = 1, start: int = START) -> list[Order]:
    """`n` orders, twenty a second of event time, of some hundred customers."""
    chance = random.Random(seed)
    return [
        Order(
            order_id=f"order-{seed}-{i}",
            event_time=Instant(start + 50 * i),
            account=f"account-{chance.randrange(300)}",
            device=f"device-{chance.randrange(300)}",
            ip=f"10.0.{chance.randrange(50)}.{chance.randrange(200)}",
            address=f"{chance.randrange(300)} Long Street",
            phone=f"138{chance.randrange(10**8):08d}",
            quantity=1 + chance.randrange(3),
            unit_price=chance.randrange(100_000),
            currency="CNY",
        )
        for i in range(n)
    ]


def sent(orders: list[Order], topic: str) -> Iterator[Sent]:
    """The orders as records of `topic`."""
    for order in orders:
        yield Sent(order.event_time, topic, order.order_id, encoder.encode(order))
