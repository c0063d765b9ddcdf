"""Facts of the order itself, computed once for orders from anywhere.

Structs and frames are brought to the same few plain arrays first, so both give the same bits.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import xxhash

from features.feature_set import FeatureSet
from features.kernels import AMOUNT_CAP

# Above these, quantity times price would leave an int64; the amount is capped far below.
QUANTITY_CAP, PRICE_CAP = 10**6, 9 * 10**12

_HOUR_MS = 3_600_000
_MONDAY_OFFSET = 3  # 1970-01-01 was a Thursday


@dataclass(frozen=True, slots=True)
class OrderFields:
    """The fields of n orders; float64 arrays hold NaN where a field is missing."""

    time: np.ndarray  # int64 UTC ms
    quantity: np.ndarray  # int64, at most QUANTITY_CAP
    unit_price: np.ndarray  # int64 minor units, at most PRICE_CAP
    list_price: np.ndarray  # float64 minor units
    account_created_time: np.ndarray  # float64 UTC ms
    member_level: np.ndarray  # float64
    virtual_phone: np.ndarray  # float64
    ip_v6: np.ndarray  # float64
    has_coupon: np.ndarray  # float64
    # float64, categories as `category_code`; the shop's attributes as "attribute:name"
    others: Mapping[str, np.ndarray]


def category_code(text: str) -> float:
    """The number that stands for a text in a vector: its 32-bit XXH32, exact in a float64.

    >>> category_code("web")
    3642744902.0
    """
    return float(xxhash.xxh32_intdigest(text.encode("utf-8", "surrogatepass")))


def order_values(fields: OrderFields, feature_set: FeatureSet) -> np.ndarray:
    """(n_orders, len(feature_set.order_features)) float64, C order."""
    values = np.empty((len(fields.time), len(feature_set.order_features)), np.float64)
    for column, feature in enumerate(feature_set.order_features):
        of = str(feature.of)
        values[:, column] = _FACTS[of](fields) if of in _FACTS else fields.others[of]
    return values


def _price_to_list(fields: OrderFields) -> np.ndarray:
    listed = np.where(fields.list_price > 0, fields.list_price, np.nan)
    return fields.unit_price / listed


def _account_age_s(fields: OrderFields) -> np.ndarray:
    return np.maximum(fields.time - fields.account_created_time, 0.0) / 1000.0


_FACTS: dict[str, Callable[[OrderFields], np.ndarray]] = {
    "amount": lambda o: np.minimum(o.quantity * o.unit_price, AMOUNT_CAP),
    "quantity": lambda o: o.quantity,
    "price_to_list": _price_to_list,
    "hour_of_day": lambda o: o.time // _HOUR_MS % 24,
    "hour_of_week": lambda o: (o.time // _HOUR_MS + 24 * _MONDAY_OFFSET) % 168,
    "account_age_s": _account_age_s,
    "member_level": lambda o: o.member_level,
    "virtual_phone": lambda o: o.virtual_phone,
    "ip_v6": lambda o: o.ip_v6,
    "has_coupon": lambda o: o.has_coupon,
}
