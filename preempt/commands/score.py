"""`preempt score`: a frame through a model, offline."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from orders.errors import UsageError, UserError
from preempt.console import console, emit
from preempt.paths import require_file_place
from preempt.settings import load_settings


def score(
    frame: Path,
    /,
    *,
    model: str,
    out: Path,
    tracking_uri: str | None = None,
    rules: Path | None = None,
    json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Score every order of a frame with a model: probability, points, and the tier they give.

    No rule is applied: points are the model's alone. `preempt decide` applies the rules too. Only
    the risk of an order is worth points: with a model of another target they and the tier are null.

    For example, preempt score frame.parquet --model risk --out scores.parquet, or, with a certain
    version, preempt score frame.parquet --model models:/risk/3 --out scores.parquet --json.

    Args:
        frame: Features by replay, from `preempt backfill`.
        model: A registered name (its champion), models:/NAME@ALIAS, models:/NAME/VERSION, or a folder.
        out: Parquet file with order_id, probability, points, tier.
        tracking_uri: MLflow server, or sqlite:///FILE; default: PREEMPT_TRACKING_URI, else SQLite in the data folder.
        rules: File whose tier thresholds count; default: the settings', else the ones that come with us.
        json: Print the counts as JSON.
    """
    require_file_place(out, "scores.parquet")
    if out.resolve() == frame.resolve():
        raise UsageError(f"--out {out} is the frame itself: name another file")
    import numpy as np
    import polars as pl

    from models.points import POINTS_TARGET, model_points
    from orders.decision_table import TIERS
    from serving.policy import Policy, weights_of
    from training.frame import open_frame

    opened = open_frame(frame)
    settings = load_settings()
    rules = rules or settings.rules
    policy = Policy.load(rules) if rules else Policy.default()
    # MLflow takes seconds to import: what can be told without it has been told.
    from models.registry import load_model
    from training.train import frame_hash, predict_rows

    found = load_model(model, tracking_uri or settings.mlflow_uri)
    try:
        found.signature.require(frame_hash(opened), opened.features)
    except ValueError as mismatch:
        raise UserError(f"{frame} does not fit model {model!r}: {mismatch}") from None
    orders = len(opened.keys)
    with console.status(f"Scoring {orders:,} orders"):
        probability = predict_rows(found, opened, np.arange(orders))
    scores = pl.DataFrame({"order_id": opened.keys["order_id"], "probability": probability})
    tiers = None
    if found.target == POINTS_TARGET:
        points = model_points(probability)
        verdicts = policy.judge(
            np.zeros((orders, 0), np.bool_), weights_of(()), points, np.full(orders, np.nan)
        )
        scores = scores.with_columns(
            points=verdicts.points, tier=pl.Series(np.array(TIERS)[verdicts.tier])
        )
        tiers = {name: int((verdicts.tier == i).sum()) for i, name in enumerate(TIERS)}
    else:
        scores = scores.with_columns(points=pl.lit(None, pl.Float64), tier=pl.lit(None, pl.String))
        console.print(
            f"{model} foretells {found.target!r}, not {POINTS_TARGET!r}: points and tier are null.",
            markup=False,
            soft_wrap=True,
        )
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        scores.write_parquet(out)
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror or error}") from None
    scored_with = f"{found.name}/{found.version}"
    text = f"{orders:,} orders scored with {scored_with}"
    if tiers is not None:
        text += ": " + ", ".join(f"{count:,} {name}" for name, count in tiers.items())
    emit(
        {"orders": orders, "model": scored_with, "target": found.target, "tiers": tiers},
        as_json=json,
        text=text,
    )
