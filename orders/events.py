"""Orders and outcomes as they travel: typed, versioned, JSON on the wire.

Every time is an instant in UTC milliseconds. On the wire it may also be written as ISO 8601 with
a zone; it is always written back as a number. Money is in integer minor units (cents, fen).
A field that is not declared is ignored, so a sender may be newer than we are; a field that is
missing or of another type is an error that names the field.
"""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta


class Instant(int):
    """A point in time: milliseconds since 1970-01-01T00:00:00Z."""

    __slots__ = ()


Identifier = Annotated[str, Meta(min_length=1, max_length=256)]
Text = Annotated[str, Meta(max_length=2048)]
Amount = Annotated[int, Meta(ge=0, le=10**13)]
AttributeName = Annotated[str, Meta(min_length=1, max_length=128)]
AttributeValue = float | Text | bool | None

OutcomeKind = Literal[
    "paid",
    "payment_failed",
    "expired",
    "verification_passed",
    "verification_failed",
    "delivered",
    "cancel_requested",
    "cancelled",
    "refunded",
    "charged_back",
    "reviewed",
    "appealed",
    "appeal_upheld",
    "appeal_rejected",
]


class Order(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An order that was placed and is not paid yet."""

    schema: Literal["order"] = "order"
    version: Literal[1] = 1

    # when
    order_id: Annotated[Identifier, Meta(description="The shop's own number, unique for ever")]
    event_time: Annotated[Instant, Meta(description="When the channel took the order")]
    received_time: Annotated[
        Instant | None, Meta(description="When we received it; never used for windows")
    ] = None

    # who
    account: Annotated[Text | None, Meta(description="The buyer's account")] = None
    account_created_time: Annotated[
        Instant | None, Meta(description="When the account was opened")
    ] = None
    member_level: Annotated[
        Annotated[int, Meta(ge=0, le=6)] | None, Meta(description="Member level, L0 to L6")
    ] = None
    phone: Annotated[Text | None, Meta(description="The buyer's phone number")] = None
    recipient: Annotated[Text | None, Meta(description="Who receives the goods")] = None

    # from where
    channel: Annotated[
        Text | None, Meta(description="Where it was placed: own site, marketplace, app")
    ] = None
    device: Annotated[Text | None, Meta(description="The device's fingerprint or number")] = None
    ip: Annotated[Text | None, Meta(description="IPv4 or IPv6 address, as text")] = None
    user_agent: Annotated[Text | None, Meta(description="What the browser calls itself")] = None

    # what
    merchant: Annotated[Text | None, Meta(description="Who sells it")] = None
    sku: Annotated[Text | None, Meta(description="The article")] = None
    category: Annotated[Text | None, Meta(description="The kind of article")] = None
    quantity: Annotated[int, Meta(ge=1, le=1_000_000, description="How many pieces")]
    unit_price: Annotated[Amount, Meta(description="Price of one piece, in minor units")]
    list_price: Annotated[
        Amount | None, Meta(description="Price of one piece without promotion, in minor units")
    ] = None
    currency: Annotated[
        # The lengths forbid the line break that `$` lets pass.
        str,
        Meta(min_length=3, max_length=3, pattern="^[A-Z]{3}$", description="ISO 4217 code"),
    ]

    # where to
    address: Annotated[
        Text | None, Meta(description="Postal address, or the account that a top-up goes to")
    ] = None

    # how
    payment_method: Annotated[Text | None, Meta(description="Card, wallet, transfer")] = None
    payment: Annotated[
        Text | None, Meta(description="Token of the card or wallet, never its number")
    ] = None
    coupon: Annotated[Text | None, Meta(description="The coupon that was used")] = None

    attributes: Annotated[
        Annotated[dict[AttributeName, AttributeValue], Meta(max_length=256)] | None,
        Meta(description="The shop's own fields: number, text or yes/no each"),
    ] = None


class Outcome(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Something that happened to an order afterwards."""

    schema: Literal["outcome"] = "outcome"
    version: Literal[1] = 1

    order_id: Annotated[Identifier, Meta(description="The order that it happened to")]
    kind: Annotated[OutcomeKind, Meta(description="What happened")]
    event_time: Annotated[Instant, Meta(description="When it happened")]
    received_time: Annotated[Instant | None, Meta(description="When we learnt of it")] = None
    reason: Annotated[
        Identifier | None, Meta(description="A leaf of the taxonomy, as in risk.scalper")
    ] = None
    reason_text: Annotated[Text | None, Meta(description="The reason as a person wrote it")] = None
    verdict: Annotated[
        Literal["fraud", "genuine"] | None, Meta(description="What a review found")
    ] = None


def decode_instant(type_: type, value: Any) -> Any:
    """The `dec_hook` of every decoder that meets an `Instant`."""
    if type_ is not Instant:
        raise NotImplementedError(type_)
    if type(value) is int:
        instant = value
    elif type(value) is str:
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError(f"expected UTC milliseconds or ISO 8601, got {value[:64]!r}") from None
        if moment.tzinfo is None:
            raise ValueError(f"expected a time with a zone, got {value[:64]!r}")
        instant = round(moment.timestamp() * 1000)
    else:
        raise ValueError(f"expected UTC milliseconds or ISO 8601, got {type(value).__name__}")
    if not 0 <= instant < 253_402_300_800_000:
        raise ValueError(f"expected a time from 1970 to 9999 in milliseconds, got {instant}")
    return Instant(instant)


order_decoder = msgspec.json.Decoder(Order, dec_hook=decode_instant)
outcome_decoder = msgspec.json.Decoder(Outcome, dec_hook=decode_instant)
encoder = msgspec.json.Encoder(enc_hook=int)  # the only custom type is Instant
