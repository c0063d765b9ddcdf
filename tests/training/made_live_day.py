"""A live day as it might come off the log, for tests of what is said about it."""

from typing import Any

import numpy as np
import polars as pl

from training.live_frame import LIVE_DECISION_SCHEMA, TRUTH_SCHEMA, Interval, LiveDay

START = 1_767_225_600_000  # 2026-01-01T00:00:00Z
HOUR = 3_600_000

RULE_REASONS = [
    (
        "rule:device_burst",
        50.0,
        "5 orders of one device in 5 minutes",
        "同一设备 5 分钟内下单 5 次",
    ),
    ("rule:virtual_phone", 40.0, "Phone of a virtual operator", "虚拟运营商手机号"),
    ("rule:address_changed", 30.0, "Delivery address changed", "收货地址有变更"),
]
MODEL_REASONS = [
    (
        "model:accounts_per_device_24h",
        31.0,
        "Accounts per device, 24 h: 9",
        "24 小时内同设备账号数：9",
    ),
    (
        "model:unpaid_ip_prefix_1h",
        18.0,
        "Unpaid in the IP segment, 1 h: 14",
        "1 小时内同网段未付款：14",
    ),
    ("model:account_age_days", 12.0, "Account age: 0.1 days", "账号注册天数：0.1"),
]
ATTACKS = [  # kind, incidents, orders each, seconds between orders, how visible
    ("ring", 3, 160, 40.0, 2.2),
    ("stock_hold", 4, 90, 8.0, 3.0),
    ("scalper", 9, 12, 0.25, 3.4),
    ("stolen_payment", 5, 7, 240.0, 0.6),
    ("bot_probe", 3, 60, 2.0, 3.2),
    ("promo_abuse", 2, 50, 60.0, 1.2),
]
HONEST = ["regular", "gift_sender", "bulk_buyer", "household", "family_purchase"]


def order(order_id: str = "o-1", at: int = 0, **fields: Any) -> dict[str, Any]:
    """An order `at` milliseconds after the start."""
    row = {
        "order_id": order_id,
        "event_time": START + at,
        "account": "a-1",
        "quantity": 1,
        "unit_price": 5_000,
        "currency": "CNY",
    }
    return row | fields


def decision(order_id: str = "o-1", tier: str = "pass", **fields: Any) -> dict[str, Any]:
    """A decision that was appended 10 ms after its order."""
    actions = {"pass": "accept", "sms": "verify_sms", "call": "verify_call"}
    row = {
        "order_id": order_id,
        "event_time": START,
        "decided_time": START,
        "probability": 0.5,
        "rule_points": 0.0,
        "model_points": 100.0,
        "points": 100.0,
        "tier": tier,
        "action": actions.get(tier, tier),
        "reasons": [],
        "fast_lane": False,
        "model": "risk/3",
        "rules": "r1",
        "order_appended_ms": 1_000,
        "decision_appended_ms": 1_010,
    }
    return row | fields


def truth(order_id: str, kind: str = "regular", attack_id: str | None = None) -> dict[str, Any]:
    """What an order was; it is an attack when it belongs to one."""
    return {
        "order_id": order_id,
        "is_attack": attack_id is not None,
        "kind": kind,
        "attack_id": attack_id,
    }


def live_day(
    orders: list[dict[str, Any]],
    decisions: list[dict[str, Any]],
    truths: list[dict[str, Any]],
    **fields: Any,
) -> LiveDay:
    """A day from rows."""
    time = pl.Datetime("ms", "UTC")
    order_schema = {
        "order_id": pl.String(),
        "event_time": time,
        "account": pl.String(),
        "quantity": pl.Int64(),
        "unit_price": pl.Int64(),
        "currency": pl.String(),
    }
    settings: dict[str, Any] = {"day": Interval(START, START + 24 * HOUR)} | fields
    return LiveDay(
        orders=pl.DataFrame(orders, schema=order_schema),
        decisions=pl.DataFrame(decisions, schema=LIVE_DECISION_SCHEMA),
        truth=pl.DataFrame(truths, schema=TRUTH_SCHEMA),
        **settings,
    )


def busy_day(n_honest: int = 20_000, seed: int = 7) -> LiveDay:
    """A day with a promotion from 20:00 to 21:00, six kinds of attack and honest look-alikes."""
    rng = np.random.default_rng(seed)
    hours = np.arange(24)
    weight = 1.2 + np.sin((hours - 9) / 24 * 2 * np.pi) + 0.4 * (hours > 18)
    weight[20] = weight.mean() * 6.5
    at = (rng.choice(24, n_honest, p=weight / weight.sum()) + rng.random(n_honest)) * HOUR
    kind = rng.choice(HONEST, n_honest, p=[0.84, 0.06, 0.03, 0.05, 0.02])
    logit = rng.normal(-6.2, 1.9, n_honest) + 1.1 * (kind == "bulk_buyer")
    frames = [
        pl.DataFrame({"at": at, "kind": kind, "logit": logit}).with_columns(
            pl.lit(None, pl.String).alias("attack_id"), pl.lit(False).alias("is_attack")
        )
    ]
    for name, incidents, size, gap, visible in ATTACKS:
        for incident in range(incidents):
            start = (rng.choice([1, 3, 9, 14, 20, 20.4, 22]) + rng.random() * 0.6) * HOUR
            steps = np.cumsum(rng.exponential(gap * 1000, size))
            learnt = visible * (1 - np.exp(-np.arange(size) / 3))
            frames.append(
                pl.DataFrame(
                    {
                        "at": np.minimum(start + steps, 24 * HOUR - 1),
                        "kind": [name] * size,
                        "logit": rng.normal(-3.4, 1.4, size) + 1.7 * learnt,
                        "attack_id": [f"{name}-{incident}"] * size,
                        "is_attack": [True] * size,
                    }
                )
            )
    rows = pl.concat(frames, how="diagonal").sort("at")
    return _decide(rows, rng)


def _decide(rows: pl.DataFrame, rng: np.random.Generator) -> LiveDay:
    n = rows.height
    at = rows["at"].to_numpy().astype(np.int64)
    logit, attack = rows["logit"].to_numpy(), rows["is_attack"].to_numpy()
    model = np.clip(120 + 20 * logit / np.log(2), -20, 150)
    rule = np.where(rng.random(n) < np.where(attack, 0.3, 0.01), 40.0, 0.0)
    points = model + rule
    tiers = np.array(["pass", "sms", "call", "freeze"])[np.digitize(points, [80, 100, 120])]
    appended = START + at // 60 + rng.integers(0, 3, n)
    busy = (at // HOUR == 20) * 9
    latency = rng.gamma(3, 3, n) + busy + (rng.random(n) < 0.01) * rng.gamma(3, 14, n)
    orders, decisions, truths = [], [], []
    for i, (kind, attack_id) in enumerate(rows.select("kind", "attack_id").iter_rows()):
        order_id = f"o{rng.integers(16**10):010x}"
        reasons = []
        if points[i] > 50:
            reasons = [MODEL_REASONS[j] for j in rng.permutation(3)[: rng.integers(1, 4)]]
            reasons += [RULE_REASONS[i % 3]] * bool(rule[i])
            reasons.sort(key=lambda reason: -reason[1])
        orders.append(
            order(
                order_id,
                int(at[i]),
                account=f"acc-{rng.integers(16**6):06x}",
                unit_price=int(rng.choice([990, 4_990, 9_800, 29_900, 64_800])),
            )
        )
        decisions.append(
            decision(
                order_id,
                str(tiers[i]),
                probability=float(1 / (1 + np.exp(-logit[i]))),
                rule_points=float(rule[i]),
                model_points=float(model[i]),
                points=float(points[i]),
                reasons=[
                    dict(zip(("code", "points", "text", "text_zh"), r, strict=True))
                    for r in reasons
                ],
                order_appended_ms=int(appended[i]),
                decision_appended_ms=int(appended[i] + latency[i]),
            )
        )
        truths.append(truth(order_id, kind, attack_id))
    return live_day(
        orders,
        decisions,
        truths,
        peak=Interval(START + 20 * HOUR, START + 21 * HOUR),
        dead_letters=3,
        seed=7,
        machine="Linux x86_64, 2 cores, Python 3.11.2",
    )
