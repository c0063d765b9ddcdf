"""Training: a frame and its labels become a calibrated model, judged on what came later."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from datetime import datetime
from pathlib import Path
from typing import Any

import lightgbm as lgb
import msgspec
import numpy as np
import polars as pl
from lightgbm.callback import CallbackEnv
from numpy.typing import NDArray

from features.feature_set import ATTRIBUTE_PREFIX, AttributeKind, feature_set
from models.calibration import Calibration, fit_calibration
from models.risk_model import ModelCard, RiskModel, trees_hash
from models.signature import Signature, vocabularies
from orders.dataset import dataset_targets
from orders.errors import UserError
from orders.tables import scan_orders, scan_outcomes
from training.doubts import doubts
from training.frame import Frame, open_frame
from training.labels import labels
from training.metrics import CalibrationPoint, Metrics, calibration_curve, evaluate
from training.split import Range, Rows, Split, resolve_range, split

OnProgress = Callable[[str, int, int], None]  # what is done, how much of it, of how much

CHUNK = 50_000  # orders predicted at once

TREE_PARAMETERS: dict[str, Any] = {
    "objective": "binary",
    "metric": "binary_logloss",
    "learning_rate": 0.05,
    "num_leaves": 31,
    "min_data_in_leaf": 50,
    "feature_fraction": 0.6,
    "lambda_l2": 1.0,
    # categories with few orders lean on the mean: an agent with three bookings proves nothing
    "cat_smooth": 50.0,
    "cat_l2": 20.0,
    "deterministic": True,
    "force_row_wise": True,  # part of determinism: else LightGBM times both ways and takes one
    "verbosity": -1,
}


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train.

    Class imbalance is left as it is: thresholds on a calibrated probability deal with it, while
    resampling would spoil the probability.

    Attributes:
        parameters: Of LightGBM.
        most_trees: Early stopping may end sooner; more would exceed the time of the hot path.
        patience: Trees without gain on the early-stopping slice.
        capacity: Share of orders that people can look at.
        seed: With the same seed, data and machine, training gives the same model bit for bit.
        threads: 0: as many as LightGBM thinks fit.
    """

    parameters: dict[str, Any] = field(default_factory=lambda: dict(TREE_PARAMETERS))
    most_trees: int = 300
    patience: int = 50
    capacity: float = 0.05
    seed: int = 7
    threads: int = 0


@dataclass(frozen=True, slots=True)
class Trained:
    """A model, and what is known about it."""

    model: RiskModel
    metrics: Metrics
    curve: list[CalibrationPoint]
    times: Range
    slices: dict[str, int]  # orders in each slice
    gain: dict[str, float]  # per feature, its share of the trees' total gain
    recipe: Recipe
    doubts: list[str]  # why it should not decide, see `training.doubts`


def train_model(
    frame_path: Path,
    outcomes_folder: Path,
    target_name: str,
    train_until: datetime | float,
    *,
    train_from: datetime | None = None,
    label_known_at: datetime | None = None,
    test_from: datetime | None = None,
    test_until: datetime | None = None,
    name: str | None = None,
    recipe: Recipe | None = None,
    on_progress: OnProgress = lambda _stage, _done, _total: None,
) -> Trained:
    """Train on the orders of a range with the labels known then, test on the rest.

    Args:
        frame_path: Features by replay (`preempt backfill`).
        outcomes_folder: The data set whose outcomes give the labels.
        target_name: `risk`, `cancel`, …
        train_until: A time, or the share of orders that comes before it (0.8).
        train_from: See `resolve_range` for this and the other times.
        label_known_at: As of when the labels of the training range are read.
        test_from: Start of the test.
        test_until: End of the test, exclusive.
        name: Of the model; the target's when not given.
        recipe: How to train.
        on_progress: Called with the stage, the trees grown, and the most there may be.

    Raises:
        UserError: Anything about the input that a person can put right.
    """
    recipe = recipe or Recipe()
    targets = dataset_targets(outcomes_folder)
    if target_name not in targets:
        raise UserError(f"unknown target {target_name!r}, there are: {', '.join(sorted(targets))}")
    target = targets[target_name]
    frame = open_frame(frame_path)
    event_time = frame.keys["event_time"]
    times = resolve_range(
        event_time,
        train_until,
        train_from=train_from,
        label_known_at=label_known_at,
        test_from=test_from,
        test_until=test_until,
    )
    orders, outcomes = scan_orders(outcomes_folder), scan_outcomes(outcomes_folder)
    known, known_time = _aligned(
        frame, labels(orders, outcomes, target, times.label_known_at), outcomes_folder
    )
    final, _ = _aligned(frame, labels(orders, outcomes, target), outcomes_folder)
    parts = split(event_time, known, final, times, known_time=known_time, maturity=target.maturity)
    taken = known.copy()
    taken[parts.silent] = 0

    signature = _signature(frame, parts.fit)
    trees = _wanted_trees(frame, signature, parts, known, recipe=recipe, on_progress=on_progress)
    booster, calibration = _grow(
        frame, signature, parts, taken, trees=trees, recipe=recipe, on_progress=on_progress
    )
    text = booster.model_to_string()
    card = ModelCard(
        name=name or target_name,
        target=target_name,
        signature=signature,
        calibration=calibration,
        trained_from=times.train_from.isoformat(),
        trained_until=times.train_until.isoformat(),
        label_known_at=times.label_known_at.isoformat(),
        trees=booster.num_trees(),
        trees_sha256=trees_hash(text),
    )
    model = RiskModel(text, card)
    probability = predict_rows(model, frame, parts.test)
    metrics = evaluate(final[parts.test], probability, recipe.capacity)
    gain = booster.feature_importance("gain")
    return Trained(
        model=model,
        metrics=metrics,
        curve=calibration_curve(final[parts.test], probability),
        times=times,
        slices={slice_.name: len(getattr(parts, slice_.name)) for slice_ in fields(parts)},
        gain=dict(zip(frame.features, (gain / max(gain.sum(), 1e-12)).tolist(), strict=True)),
        recipe=recipe,
        doubts=doubts(final[parts.test], probability, metrics.auc),
    )


def predict_rows(model: RiskModel, frame: Frame, rows: Rows) -> NDArray[np.float64]:
    """Calibrated probabilities of rows of a frame that has the model's features."""
    [vectors] = frame.matrices([rows])
    return np.concatenate(
        [np.empty(0)]
        + [model.predict(vectors[at : at + CHUNK]) for at in range(0, len(vectors), CHUNK)]
    )


def frame_hash(frame: Frame) -> str:
    """The hash of the feature set that made the frame.

    A frame with other columns than the declared features has a hash of its own: a model can be
    trained on it and score frames like it, but the live path will refuse it.
    """
    attributes: dict[str, AttributeKind] = {
        name.removeprefix(ATTRIBUTE_PREFIX): "categorical"
        if name in frame.categorical
        else "numeric"
        for name in frame.features
        if name.startswith(ATTRIBUTE_PREFIX)
    }
    declared = feature_set(attributes)
    if declared.names == frame.features and declared.categorical == set(frame.categorical):
        return declared.hash
    described = msgspec.json.encode(["undeclared", frame.features, frame.categorical])
    return hashlib.sha256(described).hexdigest()[:32]


def _aligned(
    frame: Frame, found: pl.DataFrame, folder: Path
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Labels in the sequence of the frame's rows, and since when each is known (UTC ms).

    Both are NaN where the label is not known.
    """
    joined = frame.keys.select("order_id").join(
        found.select("order_id", "label", "known_time", pl.lit(True).alias("there")),
        on="order_id",
        how="left",
        maintain_order="left",
    )
    absent = joined["there"].null_count()
    if absent:
        example = joined.filter(pl.col("there").is_null())["order_id"][0]
        raise UserError(
            f"{absent:,} of {len(joined):,} orders of {frame.path} are not in {folder} "
            f"(e.g. {example!r}): give the data set that the frame was made from"
        )
    known_time = joined["known_time"].dt.epoch("ms").cast(pl.Float64)
    return joined["label"].cast(pl.Float64).to_numpy(), known_time.to_numpy()


def _signature(frame: Frame, rows: Rows) -> Signature:
    return Signature(frame.features, vocabularies(frame.category_counts(rows)), frame_hash(frame))


def _wanted_trees(
    frame: Frame,
    signature: Signature,
    parts: Split,
    label: NDArray[np.float64],
    *,
    recipe: Recipe,
    on_progress: OnProgress,
) -> int:
    """How many trees serve the orders that come after those that grew them."""
    train, stop = _datasets(frame, signature, [parts.fit, parts.stop], label, recipe)
    stop.set_reference(train)
    booster = lgb.train(
        _parameters(recipe),
        train,
        num_boost_round=recipe.most_trees,
        valid_sets=[stop],
        callbacks=[
            lgb.early_stopping(recipe.patience, verbose=False),
            _reporting(on_progress, "Early stopping", recipe.most_trees),
        ],
    )
    return booster.best_iteration


def _grow(
    frame: Frame,
    signature: Signature,
    parts: Split,
    label: NDArray[np.float64],
    *,
    trees: int,
    recipe: Recipe,
    on_progress: OnProgress,
) -> tuple[lgb.Booster, Calibration]:
    """The final trees, from all orders but the calibration slice, and their calibration on it."""
    [train] = _datasets(frame, signature, [parts.train], label, recipe)
    booster = lgb.train(
        _parameters(recipe),
        train,
        num_boost_round=trees,
        callbacks=[_reporting(on_progress, "Growing trees", trees)],
    )
    del train
    [vectors] = frame.matrices([parts.calibrate])
    scores = booster.predict(signature.encode(vectors, copy=False), raw_score=True)
    return booster, fit_calibration(np.asarray(scores), label[parts.calibrate])


def _datasets(
    frame: Frame,
    signature: Signature,
    slices: list[Rows],
    label: NDArray[np.float64],
    recipe: Recipe,
) -> list[lgb.Dataset]:
    return [
        lgb.Dataset(
            signature.encode(vectors, copy=False),
            label[rows],
            params=_parameters(recipe),
            categorical_feature=[signature.features.index(name) for name in signature.categories],
        )
        for vectors, rows in zip(frame.matrices(slices), slices, strict=True)
    ]


def _parameters(recipe: Recipe) -> dict[str, Any]:
    return {**recipe.parameters, "seed": recipe.seed, "num_threads": recipe.threads}


def _reporting(on_progress: OnProgress, stage: str, total: int) -> Callable[[CallbackEnv], None]:
    def report(environment: CallbackEnv) -> None:
        on_progress(stage, environment.iteration + 1, total)

    return report
