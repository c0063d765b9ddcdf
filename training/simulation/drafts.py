"""An order before it is written out: numbers and keys only, 160 bytes each."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

KINDS = (
    # honest
    "regular",
    "new_customer",
    "household",
    "virtual_phone",
    "traveller",
    "new_device",
    "coupon_hunter",
    "gift_sender",
    "bulk_buyer",
    "family_purchase",
    "payment_retry",
    "window_shopper",
    "campus_group",
    "assisted_shop",
    "price_rush",
    # attacks
    "ring",
    "stock_hold",
    "scalper",
    "stolen_payment",
    "bot_probe",
    "promo_abuse",
    "slow_ring",
)
"""What `kind` in the truth may say: the honest personas, then the attacks."""

KIND = {name: code for code, name in enumerate(KINDS)}
FIRST_ATTACK = KIND["ring"]
HONEST_KINDS = KINDS[:FIRST_ATTACK]
ATTACK_KINDS = KINDS[FIRST_ATTACK:]

# What an order is meant to become, where the persona alone does not say.
AS_USUAL, TO_BE_PAID, NEVER_PAID, FAILING = range(4)

DRAFT_SCHEMA: dict[str, pl.DataType] = {
    "time": pl.Int64(),
    "kind": pl.UInt8(),
    "intent": pl.UInt8(),
    "attack": pl.UInt64(),  # the incident's key, 0 for honest orders
    "attack_start": pl.Int64(),
    "account": pl.UInt64(),
    "created": pl.Int64(),
    "level": pl.Int8(),
    "phone": pl.UInt64(),
    "virtual": pl.Boolean(),
    "recipient": pl.UInt64(),
    "channel": pl.UInt8(),
    "device": pl.UInt64(),
    "ip": pl.UInt32(),
    "sku": pl.UInt16(),
    "quantity": pl.Int32(),
    "place": pl.UInt64(),  # the building of a postal address
    "room": pl.UInt64(),
    "top_up": pl.UInt64(),  # the account that digital goods go to
    "method": pl.UInt8(),
    "payment": pl.UInt64(),
    "coupon": pl.UInt64(),  # 0 for none
}

_DEFAULTS: dict[str, Any] = {"intent": AS_USUAL, "attack": 0, "attack_start": 0}


def draft(columns: dict[str, Any]) -> pl.DataFrame:
    """Drafts from one array per column; a single number stands for all rows."""
    length = len(columns["time"])
    series = []
    for name, dtype in DRAFT_SCHEMA.items():
        values = columns[name] if name in columns else _DEFAULTS[name]
        array = np.asarray(values)
        if array.ndim == 0:
            array = np.full(length, array)
        series.append(pl.Series(name, array).cast(dtype))
    return pl.DataFrame(series)


def gather(frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Drafts put together, in the order given."""
    return pl.concat([*frames, pl.DataFrame(schema=DRAFT_SCHEMA)], how="vertical")


def codes(*names: str) -> list[int]:
    """The codes of kinds."""
    return [KIND[name] for name in names]
