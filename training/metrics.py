"""How good probabilities are: ranking, precision at capacity, calibration."""

import msgspec
import numpy as np
from numpy.typing import NDArray


class CalibrationPoint(msgspec.Struct, frozen=True):
    """One bin of the reliability diagram."""

    predicted: float
    observed: float
    orders: int


class Metrics(msgspec.Struct, frozen=True, kw_only=True):
    """Metrics of a model on a test; None where the test holds one class only.

    Attributes:
        ap: Average precision, the area under the precision-recall curve as a step function.
        recall_at_1pct_fpr: Share of positives found when 1 % of the negatives are stopped.
        capacity: Share of orders that people can look at.
        precision_at_capacity: Share of positives among the `capacity` riskiest orders.
        recall_at_capacity: Share of positives found among them.
        expected_calibration_error: Mean distance of predicted and observed rates, by tenths.
    """

    orders: int
    positives: int
    auc: float | None
    ap: float | None
    brier: float | None
    recall_at_1pct_fpr: float | None
    capacity: float
    precision_at_capacity: float | None
    recall_at_capacity: float | None
    mean_probability: float | None
    expected_calibration_error: float | None


def evaluate(
    label: NDArray[np.float64], probability: NDArray[np.float64], capacity: float = 0.05
) -> Metrics:
    """All metrics of probabilities against labels (1 or 0)."""
    from sklearn.metrics import (
        average_precision_score,
        brier_score_loss,
        roc_auc_score,
        roc_curve,
    )

    orders, positives = len(label), int(label.sum())
    both = 0 < positives < orders
    reviewed = max(1, round(capacity * orders))
    found = float(label[np.argsort(-probability, kind="stable")[:reviewed]].sum())
    recall_at_1pct = None
    if both:
        false_positives, recall, _ = roc_curve(label, probability, drop_intermediate=False)
        recall_at_1pct = float(recall[np.searchsorted(false_positives, 0.01, side="right") - 1])
    curve = calibration_curve(label, probability)
    return Metrics(
        orders=orders,
        positives=positives,
        auc=float(roc_auc_score(label, probability)) if both else None,
        ap=float(average_precision_score(label, probability)) if both else None,
        brier=float(brier_score_loss(label, probability, pos_label=1)) if orders else None,
        recall_at_1pct_fpr=recall_at_1pct,
        capacity=capacity,
        precision_at_capacity=found / reviewed if orders else None,
        recall_at_capacity=found / positives if positives else None,
        mean_probability=float(probability.mean()) if orders else None,
        expected_calibration_error=sum(
            bin_.orders * abs(bin_.predicted - bin_.observed) for bin_ in curve
        )
        / orders
        if orders
        else None,
    )


def calibration_curve(
    label: NDArray[np.float64], probability: NDArray[np.float64], bins: int = 10
) -> list[CalibrationPoint]:
    """Predicted and observed rates in bins of equal numbers of orders, by probability."""
    by_probability = np.argsort(probability, kind="stable")
    return [
        CalibrationPoint(float(probability[rows].mean()), float(label[rows].mean()), len(rows))
        for rows in np.array_split(by_probability, min(bins, max(1, len(label))))
        if len(rows)
    ]
