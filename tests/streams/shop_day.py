"""A few busy hours of a small shop, for tests of parity: shared entities, outcomes, ties."""

import random

from orders.events import Instant, Order, Outcome, OutcomeKind
from tests.streams.traffic_maker import START

MINUTE = 60_000
NEWS = 10 * MINUTE

Event = Order | Outcome

FATES: tuple[tuple[OutcomeKind, str | None, float], ...] = (
    ("expired", None, 0.3),
    ("payment_failed", None, 0.2),
    ("cancelled", "risk.scalper", 0.1),
    ("delivered", None, 0.4),
    ("paid", None, 0.4),
)


def shop_day(orders: int, seed: int = 3) -> list[Event]:
    """Orders one to two a minute of few customers, and what became of them, by event time."""
    chance = random.Random(seed)
    events: list[Event] = []
    time = START
    for i in range(orders):
        time += chance.randrange(30_000, 90_000)
        who = chance.randrange(8)
        order = Order(
            order_id=f"o{seed}-{i}",
            event_time=Instant(time),
            account=f"account-{who}",
            account_created_time=Instant(START - who * 86_400_000),
            device=f"device-{chance.choice((who, who // 2))}",
            ip=f"10.0.{who // 4}.{chance.randrange(3)}",
            address=f"{chance.choice((who, 0))} Long Street",
            phone=f"1380000{who:04d}",
            recipient=f"recipient-{who}",
            merchant=f"merchant-{chance.randrange(2)}",
            sku=f"sku-{chance.randrange(4)}",
            payment=f"card-{chance.choice((who, 1))}" if chance.random() < 0.9 else None,
            quantity=1 + chance.randrange(3),
            unit_price=chance.randrange(100_000),
            list_price=100_000,
            currency="CNY",
            attributes={"lead_time": chance.randrange(9), "segment": chance.choice("abc")},
        )
        events.append(order)
        for kind, reason, share in FATES:
            if chance.random() < share:
                # News comes every ten minutes, so that a test may send it at once.
                later = time + chance.randrange(2 * MINUTE, 30 * MINUTE)
                events.append(
                    Outcome(
                        order_id=order.order_id,
                        kind=kind,
                        reason=reason,
                        event_time=Instant(later // NEWS * NEWS + NEWS + 1),
                    )
                )
    events.sort(key=lambda event: event.event_time)
    return events
