"""The MLflow run of a training: everything needed to judge it and to repeat it."""

import math
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import msgspec

from models.registry import ARTIFACT_PATH, CHAMPION, mlflow_client, register, sqlite_path
from orders.errors import UserError
from training.metrics import CalibrationPoint
from training.train import Trained

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "preempt"


@dataclass(frozen=True, slots=True)
class Recorded:
    """Where a training was recorded."""

    run_id: str
    model_uri: str  # models:/<name>/<version>
    version: str


def record(
    trained: Trained,
    *,
    tracking_uri: str,
    source: Mapping[str, str],
    alias: str | None = CHAMPION,
) -> Recorded:
    """Write a run, and register its model.

    Args:
        trained: What `train_model` returned.
        tracking_uri: Of MLflow; with `sqlite:///…` artefacts are kept beside the database.
        source: Where the data came from, recorded as parameters.
        alias: Given to the registered version; None: the aliases stay where they are.

    Raises:
        UserError: MLflow cannot be reached, or it fails halfway; then the run is marked as failed
            and no alias is moved.
    """
    from mlflow.exceptions import MlflowException

    client = mlflow_client(tracking_uri)
    run_id = None
    try:
        experiment = _experiment(client, tracking_uri)
        run = client.create_run(experiment, run_name=trained.model.name)
        run_id = run.info.run_id
        _write(client, run_id, trained, source)
        name = trained.model.name
        version = register(
            f"{run.info.artifact_uri}/{ARTIFACT_PATH}",
            tracking_uri=tracking_uri,
            name=name,
            run_id=run_id,
            alias=alias,
        )
        client.set_terminated(run_id, "FINISHED")
    except (MlflowException, OSError) as error:
        if run_id:
            _mark_failed(client, run_id)
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"the model was trained, but MLflow at {tracking_uri} did not record it: {first}"
        ) from error
    return Recorded(run_id=run_id, model_uri=f"models:/{name}/{version}", version=version)


def git_revision(folder: Path) -> str | None:
    """The commit that is checked out in `folder`, with `+` for changes; None outside of git."""
    try:
        shown = subprocess.run(
            ["git", "-C", str(folder), "describe", "--always", "--abbrev=40", "--dirty=+"],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return shown.stdout.strip() or None


def _mark_failed(client: "MlflowClient", run_id: str) -> None:
    from contextlib import suppress

    with suppress(Exception):  # the first error is the one to tell
        client.set_terminated(run_id, "FAILED")


def _experiment(client: "MlflowClient", tracking_uri: str) -> str:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(EXPERIMENT)
    if found is None:
        database = sqlite_path(tracking_uri)
        # Without a place of its own MLflow would write under the working directory.
        place = (database.parent / "artifacts").resolve().as_uri() if database else None
        try:
            return client.create_experiment(EXPERIMENT, artifact_location=place)
        except MlflowException as error:  # another process was quicker
            found = client.get_experiment_by_name(EXPERIMENT)
            if found is None:
                raise error
    return found.experiment_id


def _write(
    client: "MlflowClient", run_id: str, trained: Trained, source: Mapping[str, str]
) -> None:
    from mlflow.entities import Metric, Param, RunTag

    model, recipe, times = trained.model, trained.recipe, trained.times
    parameters: dict[str, object] = {
        **{f"lightgbm.{name}": value for name, value in recipe.parameters.items()},
        "target": model.target,
        "seed": recipe.seed,
        "trees": model.card.trees,
        "calibration": msgspec.to_builtins(model.card.calibration)["method"],
        "features": len(model.signature.features),
        "train_from": times.train_from.isoformat(),
        "train_until": times.train_until.isoformat(),
        "label_known_at": times.label_known_at.isoformat(),
        "test_from": times.test_from.isoformat(),
        "test_until": times.test_until.isoformat(),
        **{f"orders.{name}": count for name, count in trained.slices.items()},
        **source,
    }
    tags = {
        "target": model.target,
        "feature_hash": model.signature.feature_hash,
        "doubts": "; ".join(trained.doubts) or "none",
        "git_revision": git_revision(Path(__file__).parent) or "none",
    }
    measured = {
        name: float(value)
        for name, value in msgspec.structs.asdict(trained.metrics).items()
        if value is not None and math.isfinite(value)
    }
    client.log_batch(
        run_id,
        metrics=[Metric(name, value, 0, 0) for name, value in measured.items()],
        params=[Param(name, str(value)[:6000]) for name, value in parameters.items()],
        tags=[RunTag(name, value) for name, value in tags.items()],
    )
    with TemporaryDirectory(prefix="preempt-run-") as temporary:
        folder = Path(temporary)
        model.save(folder / ARTIFACT_PATH)
        charts = folder / "charts"
        charts.mkdir()
        draw_calibration(trained.curve, charts / "calibration.png")
        draw_importance(trained.gain, charts / "importance.png")
        by_gain = sorted(trained.gain.items(), key=lambda item: -item[1])
        (folder / "importance.csv").write_text(
            "feature,share_of_gain\n" + "".join(f"{name},{share:.6g}\n" for name, share in by_gain)
        )
        (folder / "calibration.json").write_bytes(msgspec.json.encode(trained.curve))
        client.log_artifacts(run_id, str(folder))


def draw_calibration(curve: list[CalibrationPoint], file: Path) -> None:
    """The reliability diagram of a test as PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.7", linestyle="--", label="perfect")
    axes.plot([p.predicted for p in curve], [p.observed for p in curve], marker="o", label="test")
    axes.set(xlabel="predicted probability", ylabel="observed rate", title="Calibration")
    axes.legend()
    figure.savefig(file, dpi=100)


def draw_importance(gain: Mapping[str, float], file: Path, most: int = 25) -> None:
    """The features with the largest share of the trees' gain as PNG."""
    from matplotlib.figure import Figure

    shown = sorted(gain.items(), key=lambda item: item[1])[-most:]
    figure = Figure(figsize=(7, 1 + 0.25 * len(shown)), layout="constrained")
    axes = figure.subplots()
    # Names of a shop's attributes may hold a $, which matplotlib would read as mathematics.
    axes.barh([name.replace("$", r"\$") for name, _ in shown], [share for _, share in shown])
    axes.set(xlabel="share of gain", title="Feature importance")
    figure.savefig(file, dpi=100)
