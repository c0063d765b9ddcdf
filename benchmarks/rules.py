"""What rules cost an order, beside the plain way. Prints one JSON object.

    python -m benchmarks.rules [--quick]

ours    `RuleMatcher.match`, `Policy.judge`, the reasons, and the circuit breaker's bookkeeping.
        No made-up rule matches, so no order is stopped, unless it is said.
polars  one `select` of all expressions over the same columns: the matching alone.

By number of rules and orders in a chunk, in microseconds of processor time an order. The default
rules match many of the made-up orders, so "ours" has the cost of stopped orders there.
"""

import argparse
import json
import random
import sys
import time
from collections.abc import Callable

import msgspec
import numpy as np
import polars as pl

from features.columns import event_columns_from_orders
from features.feature_set import FeatureSet, feature_set
from orders.events import Instant, Order
from serving.circuit_breaker import StopCounts
from serving.final_tiers import final_tiers
from serving.lists import EntityLists, entries
from serving.policy import Policy
from serving.prepared_policy import PreparedPolicy
from serving.reasons import rule_reasons
from serving.rule_columns import rule_columns, series_of
from serving.rule_matcher import RuleInput
from serving.rules import Rule

NOW = 1_700_000_000_000
SEED = 7
CHUNKS = (1, 50, 500)
RULES = (50, 200, 500)
ENOUGH_S = 1.0


def made_up_rules(number: int, features: FeatureSet) -> tuple[Rule, ...]:
    """Rules of 1 to 4 comparisons over features, fields and lists; none matches these orders."""
    chance = random.Random(SEED)
    numbers = [
        feature.name
        for feature in features.features
        if feature.unit != "flag" and feature.name not in features.categorical
    ]
    flags = [feature.name for feature in features.features if feature.unit == "flag"]

    def comparison() -> str:
        name, other = chance.sample(numbers, 2)
        kinds = [
            (50, f"{name} {chance.choice(['>=', '>', '<'])} {chance.randint(1, 20)}"),
            (5, f"{name} BETWEEN {chance.randint(0, 3)} AND {chance.randint(4, 20)}"),
            (5, f"COALESCE({name}, 0) < {chance.randint(1, 20)}"),
            (3, f"{name} / NULLIF({other}, 0) > {chance.randint(1, 9)}"),
            (3, f"{name} > {other}"),
            (2, f"({name} >= {chance.randint(1, 9)} OR {other} IS NULL)"),
            (14, f"{chance.choice(['', 'NOT '])}{chance.choice(flags)}"),
            (8, f"channel = '{chance.choice(['own', 'app', 'douyin', 'jd'])}'"),
            (4, f"category IN ('kind {chance.randint(0, 9)}', 'kind {chance.randint(0, 9)}')"),
            (2, f"user_agent LIKE '%bot {chance.randint(0, 9)}%'"),
            (4, f"{chance.choice(['ip', 'device'])} IN LIST('list_{chance.randint(0, 4)}')"),
        ]
        return chance.choices([kind for _, kind in kinds], [weight for weight, _ in kinds])[0]

    return tuple(
        Rule(
            name=f"rule_{each}",
            title="A title of a rule",
            title_zh="规则标题",
            when=" AND ".join(
                [
                    *(comparison() for _ in range(chance.randint(0, 3))),
                    f"{numbers[each % 60]} > 1e9",
                ]
            ),
            points=chance.randint(10, 60),
            merchants=("merchant 1", "merchant 2") if each % 20 == 0 else (),
        )
        for each in range(number)
    )


def made_up_chunk(orders: int, features: FeatureSet) -> RuleInput:
    """Orders of a shop, with features that are unknown here and there, and five lists."""
    rng = np.random.default_rng(SEED)
    placed = [
        Order(
            order_id=f"order {each}",
            event_time=Instant(NOW + each),
            account=f"account {each % 90}",
            device=f"device {each % 70}",
            ip=f"10.0.{each % 9}.{each % 200}",
            channel=("own", "app", "douyin", "tmall")[each % 4],
            merchant=f"merchant {each % 30}",
            category=f"kind {each % 20}",
            user_agent="Mozilla/5.0 (X11; Linux x86_64)",
            quantity=1,
            unit_price=9_900,
            currency="CNY",
        )
        for each in range(orders)
    ]
    vectors = rng.integers(0, 20, (orders, len(features.names))).astype(np.float64)
    flags = [feature.unit == "flag" for feature in features.features]
    vectors[:, flags] = vectors[:, flags] > 15
    vectors[rng.random(vectors.shape) < 0.1] = np.nan
    keys = event_columns_from_orders(placed, features).entity_key
    listed = np.unique(rng.integers(1, 2**63, 10_000, dtype=np.uint64))
    one = entries(listed, np.zeros(len(listed), np.int64), np.full(len(listed), 2**62))
    lists = EntityLists("v", {f"list_{each}": one for each in range(5)})
    return RuleInput(placed, vectors, keys, None, lists)


def cost(work: Callable[[], object], orders: int) -> float:
    """Microseconds of processor time an order, the least of several rounds."""
    work()
    best, spent = float("inf"), 0.0
    while spent < ENOUGH_S:
        begun = time.process_time()
        rounds = 0
        while time.process_time() - begun < ENOUGH_S / 10:
            work()
            rounds += 1
        took = time.process_time() - begun
        best, spent = min(best, took / rounds), spent + took
    return round(1e6 * best / orders, 2)


def costs(policy: Policy, chunk: RuleInput, features: FeatureSet) -> dict[str, float | None]:
    """Of one set of rules and one chunk."""
    prepared = PreparedPolicy(policy, features)
    matcher, orders = prepared.matcher, len(chunk.orders)
    stops = StopCounts(policy.circuit_breaker)

    def ours() -> None:
        judged = prepared.judge(chunk, None)
        final_tiers(prepared, judged, chunk.orders, NOW, stops)
        rule_reasons(judged, prepared)

    sources = rule_columns(features)

    def frame() -> pl.DataFrame:
        columns = [series_of(name, *_column(sources[name], chunk)) for name in matcher.columns]
        at = chunk.time
        lists = [
            pl.Series(read.column, chunk.lists.hold(read.name, read.entity, chunk.keys, at))
            for read in matcher.lists
        ]
        return pl.DataFrame([*columns, *lists])

    plain = matcher.match_frame(frame())
    if not np.array_equal(plain, matcher.match(chunk).hits):
        raise AssertionError("numpy and Polars do not say the same")
    return {
        "ours": cost(ours, orders),
        "ours_matching": cost(lambda: matcher.match(chunk), orders),
        "polars_matching": cost(lambda: matcher.match_frame(frame()), orders),
    }


def _column(source: tuple, chunk: RuleInput) -> tuple:
    dtype, column = source
    return dtype, column(chunk.vectors, chunk.orders, chunk.probability)


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="only 200 rules")
    quick = parser.parse_args().quick
    features, default = feature_set(), Policy.default()
    policies = {} if quick else {"6 default": default}
    for number in (200,) if quick else RULES:
        rules = made_up_rules(number, features)
        policies[str(number)] = msgspec.structs.replace(default, rules=rules)
    result: dict[str, dict] = {}
    for name, policy in policies.items():
        begun = time.process_time()
        PreparedPolicy(policy, features)
        result[name] = {"prepare_ms": round(1e3 * (time.process_time() - begun))}
        for size in CHUNKS:
            result[name][str(size)] = costs(policy, made_up_chunk(size, features), features)
            print(f"{name} rules, {size}: {result[name][str(size)]}", file=sys.stderr)
    stopping = Rule(
        name="stopping",
        title="A title",
        title_zh="标题",
        when="order_id LIKE '%00' OR order_id LIKE '%50'",
        action="freeze",
    )
    rules = (*made_up_rules(199, features), stopping)
    policy = msgspec.structs.replace(default, rules=rules)
    result["200, 2 % stopped"] = {"500": costs(policy, made_up_chunk(500, features), features)}
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
