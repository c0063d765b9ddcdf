"""Why an order got its points: the rules that matched, and what moved the model."""

from collections.abc import Sequence

import msgspec
import numpy as np

from features.feature_set import ATTRIBUTE_PREFIX, FeatureSet
from models.explain import top_reasons
from orders.events import Order
from serving.decisions import Reason
from serving.prepared_policy import Judged, PreparedPolicy
from serving.tiers import PASS
from serving.words import MODEL_WORDS, words

MODEL_SCORE = "model.score"  # no feature is called so: theirs are model:<name>


def rule_reasons(judged: Judged, prepared: PreparedPolicy) -> list[list[Reason]]:
    """Per order the rules that matched, with the points of each.

    Where the order is not passed a reason has the values that the rule read.

    Args:
        judged: what the policy says about n orders.
        prepared: the policy.
    """
    hits, snoozed = judged.matched.hits, judged.matched.snoozed
    stopped = judged.verdicts.tier != PASS
    reasons: list[list[Reason]] = [[] for _ in range(len(hits))]
    for order, rule in zip(*(axis.tolist() for axis in hits.nonzero()), strict=True):
        reason = prepared.reasons[rule]
        if snoozed[order, rule]:
            reason = msgspec.structs.replace(reason, points=0.0, snoozed=True)
        if stopped[order]:
            values = prepared.values_read(judged, order, rule)
            reason = msgspec.structs.replace(reason, values=values)
        reasons[order].append(reason)
    return reasons


def model_reasons(
    contributions: np.ndarray,
    model_points: np.ndarray,
    vectors: np.ndarray,
    orders: Sequence[Order],
    feature_set: FeatureSet,
) -> list[list[Reason]]:
    """Per order the three features that raised the model's probability the most.

    The points of a feature are its share in the model's points: its log-odds to those of all
    features that raise them. Where none does (the average order already gets these points), the
    model as a whole is the reason.

    Args:
        contributions: (n, F) log-odds, of `RiskModel.contributions`.
        model_points: (n,) float64.
        vectors: (n, F) float64, what the model saw.
        orders: the n orders.
        feature_set: the F features.
    """
    raised = np.clip(contributions, 0.0, None).sum(axis=1)
    declared = {
        feature.name: (index, feature) for index, feature in enumerate(feature_set.features)
    }
    reasons: list[list[Reason]] = []
    for row, strongest in enumerate(top_reasons(contributions, feature_set.names)):
        reasons.append([])
        for name, log_odds in strongest:
            index, feature = declared[name]
            value = vectors[row, index]
            shown = _text(orders[row], name) if name in feature_set.categorical else float(value)
            text, text_zh = words(feature, shown)
            points = round(float(model_points[row] * log_odds / raised[row]), 1)
            reasons[row].append(
                Reason(code=f"model:{name}", points=points, text=text, text_zh=text_zh)
            )
        if not reasons[row]:
            points, (text, text_zh) = float(model_points[row]), MODEL_WORDS
            reasons[row].append(Reason(code=MODEL_SCORE, points=points, text=text, text_zh=text_zh))
    return reasons


def _text(order: Order, name: str) -> str | None:
    # A categorical cell of a vector is a hash; people read the text.
    if not name.startswith(ATTRIBUTE_PREFIX):
        return getattr(order, name, None)
    value = (order.attributes or {}).get(name.removeprefix(ATTRIBUTE_PREFIX))
    return value if isinstance(value, str) else None
