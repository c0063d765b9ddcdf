"""The tables of a live day, from `order_rows` to rows of plain values."""

from typing import Any

import polars as pl

from orders.decision_table import TIERS
from training.live_summary import Summary, Tiers
from training.money import money


def tier_rows(summary: Summary) -> list[dict[str, Any]]:
    """Per tier: all, honest and attack orders, and the share of attacks among those known."""
    by_truth = summary.tiers_by_truth
    rows = []
    for tier in TIERS:
        honest, attack = _of(by_truth.honest, tier), _of(by_truth.attack, tier)
        known = honest + attack
        rows.append(
            {
                "tier": tier,
                "orders": _of(summary.tiers, tier),
                "honest": honest,
                "attack": attack,
                "attack_share": attack / known if known else None,
            }
        )
    return rows


def _of(tiers: Tiers, tier: str) -> int:
    return getattr(tiers, "pass_" if tier == "pass" else tier)


def reason_rows(rows: pl.DataFrame, most: int = 12) -> list[dict[str, Any]]:
    """The reasons that most stopped orders name, with how often the order was an attack.

    `orders` and `precision` are over all orders that name the reason, passed ones included;
    `attack_share` is the share of all attack orders that name it. The text is the commonest one.
    """
    attack_orders = rows.filter("is_attack").height
    named = (
        rows.select("order_id", "stopped", "is_attack", "reasons")
        .explode("reasons", empty_as_null=False, keep_nulls=False)
        .unnest("reasons")
        .unique(["order_id", "code"], keep="first", maintain_order=True)
    )
    top = (
        named.group_by("code", maintain_order=True)
        .agg(
            pl.col("text").mode(maintain_order=True).first(),
            pl.col("text_zh").mode(maintain_order=True).first(),
            pl.len().alias("orders"),
            pl.col("stopped").sum(),
            pl.col("is_attack").mean().alias("precision"),
            (pl.col("is_attack").sum() / max(attack_orders, 1)).alias("attack_share"),
        )
        .sort("stopped", "code", descending=[True, False])
        .head(most)
    )
    return top.to_dicts()


def frozen_rows(rows: pl.DataFrame, most: int = 12) -> list[dict[str, Any]]:
    """The newest frozen orders, newest first, with their reasons and what they really were."""
    frozen = rows.filter(pl.col("action") == "freeze").tail(most).reverse()
    return [
        {
            "time": row["event_time"].strftime("%H:%M:%S"),
            "order_id": row["order_id"],
            "account": row["account"],
            "amount": money(row["amount"], row["currency"]),
            "points": row["points"],
            "reasons": row["reasons"] or [],
            "is_attack": row["is_attack"],
            "kind": row["kind"],
        }
        for row in frozen.to_dicts()
    ]
