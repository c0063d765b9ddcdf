"""What tends to become of each kind of order: the shares that outcomes are drawn by."""

import numpy as np

from training.simulation.drafts import KIND, KINDS
from training.simulation.keys import Floats
from training.simulation.outcome_rows import LEAF


def _by_kind(usual: float, **exceptions: float) -> Floats:
    table = np.full(len(KINDS), usual)
    for kind, value in exceptions.items():
        table[KIND[kind]] = value
    return table


# Shares of the orders of a kind. Paid:
PAID = _by_kind(
    0.985,
    window_shopper=0.3,
    ring=0.45,
    stock_hold=0.01,
    scalper=0.7,
    stolen_payment=0.96,
    bot_probe=0.0,
    promo_abuse=0.93,
    slow_ring=0.9,
)
# Cancelled for a risk reason, of the paid ones. For honest people, that is a mistake.
RISK_CANCELLED = _by_kind(
    0.0015,
    gift_sender=0.03,
    bulk_buyer=0.012,
    family_purchase=0.015,
    campus_group=0.025,
    assisted_shop=0.025,
    new_device=0.012,
    ring=0.6,
    scalper=0.75,
    stolen_payment=0.3,
    promo_abuse=0.6,
    slow_ring=0.3,
)
# Cancelled by staff before they expire, of the unpaid ones.
HOLD_RELEASED = _by_kind(
    0.0, window_shopper=0.02, ring=0.25, stock_hold=0.35, scalper=0.4, bot_probe=0.25
)
# Given up by the customer before they expire, of the unpaid ones.
GIVEN_UP = _by_kind(0.2, window_shopper=0.65, payment_retry=0.7)
# Charged back, of those paid and delivered.
CHARGED_BACK = _by_kind(0.0008, ring=0.45, scalper=0.05, stolen_payment=0.8, slow_ring=0.5)
REVIEWED = _by_kind(
    0.003,
    gift_sender=0.03,
    bulk_buyer=0.02,
    campus_group=0.03,
    assisted_shop=0.03,
    ring=0.2,
    stock_hold=0.2,
    scalper=0.25,
    stolen_payment=0.15,
    bot_probe=0.2,
    promo_abuse=0.25,
    slow_ring=0.1,
)

# What the shop takes a kind for when it stops it; payment fraud unless said otherwise.
_TAKEN_FOR = {
    "gift_sender": "scalper",
    "bulk_buyer": "scalper",
    "family_purchase": "malicious_hold",
    "window_shopper": "malicious_hold",
    "campus_group": "promo_abuse",
    "coupon_hunter": "promo_abuse",
    "stock_hold": "malicious_hold",
    "scalper": "scalper",
    "bot_probe": "bot_probe",
    "promo_abuse": "promo_abuse",
}
RISK_LEAF = np.array([LEAF[f"risk.{_TAKEN_FOR.get(kind, 'payment_fraud')}"] for kind in KINDS])
ANY_RISK_LEAF = np.array([number for code, number in LEAF.items() if code.startswith("risk.")])

_USER = ("changed_mind", "wrong_item", "price_moved", "slow_delivery", "distrust")
_MERCHANT = ("oversold", "unclear_description", "slow_support", "delisted")
_PLATFORM = ("status_out_of_sync", "payment_fault", "lost_order_data", "dispute_process")
SHOP_LEAVES = np.array(
    [LEAF[f"user.{leaf}"] for leaf in _USER]
    + [LEAF[f"merchant.{leaf}"] for leaf in _MERCHANT]
    + [LEAF[f"platform.{leaf}"] for leaf in _PLATFORM]
    + [LEAF["regulatory.order"]]
)
PHYSICAL_MIX = np.array(
    [
        *(0.27, 0.15, 0.12, 0.09, 0.03),
        *(0.11, 0.06, 0.04, 0.03),
        *(0.03, 0.02, 0.02, 0.02),
        0.01,
    ]
)
DIGITAL_MIX = np.array(
    [
        *(0.12, 0.13, 0.07, 0.22, 0.12),
        *(0.07, 0.08, 0.05, 0.02),
        *(0.05, 0.04, 0.02, 0.01),
        0.01,
    ]
)
USER_LEAVES = SHOP_LEAVES[: len(_USER)]
