"""What became of an order in the end, as far as money goes."""

from orders.events import OutcomeKind

FATES = ("open", "expired", "completed", "cancelled", "charged_back")
"""Where an order had several, the last of them here counts; open: none of them is known."""

FATE_OF_KIND: dict[OutcomeKind, int] = {
    "expired": 1,
    "delivered": 2,
    "cancelled": 3,
    "refunded": 3,
    "charged_back": 4,
}
"""Index into FATES."""
