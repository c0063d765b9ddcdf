"""`preempt train`: a frame and its outcomes become a registered model."""

from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.markup import escape

from orders.errors import UsageError
from orders.targets import TARGETS
from preempt.console import console, emit, progress
from preempt.options import Seed, Time, TimeOrShare
from preempt.paths import require_folder_place
from preempt.settings import load_settings

if TYPE_CHECKING:
    from training.tracking import Recorded


def train(
    frame: Path,
    /,
    *,
    outcomes: Path,
    target: str,
    train_until: TimeOrShare,
    train_from: Time | None = None,
    label_known_at: Time | None = None,
    test_from: Time | None = None,
    test_until: Time | None = None,
    name: str | None = None,
    tracking_uri: str | None = None,
    model_out: Path | None = None,
    force_champion: Annotated[bool, Parameter(negative="")] = False,
    seed: Seed = 7,
    json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Train a model on the past, test it on what came later, and register it.

    Orders from --train-from until --train-until train, with the labels that were known at
    --label-known-at; orders after that test, with all labels that are known by now. Times are
    ISO 8601 with a zone. The model becomes champion, the one that decides, unless its test says
    that it has learnt nothing: then it is registered, and the champion stays.

    For example, preempt train frame.parquet --outcomes history --target risk --train-until
    2026-03-01T00:00:00Z, or, on the first 80 % of the orders and under a name of its own,
    preempt train frame.parquet --outcomes hotel --target cancel --train-until 80% --name
    hotel-cancel.

    Args:
        frame: Features by replay, from `preempt backfill`.
        outcomes: Folder of the data set that the frame was made from.
        target: What to foretell: risk or cancel.
        train_until: End of the training range, exclusive: a time, or a share of the orders by event time as in 80%.
        train_from: Start of the training range; default: the first order.
        label_known_at: As of when labels are read for training; default: --train-until.
        test_from: Start of the test; default: the later of --train-until and --label-known-at.
        test_until: End of the test, exclusive; default: after the last order.
        name: Name in the registry; default: the target.
        tracking_uri: MLflow server, or sqlite:///FILE; default: PREEMPT_TRACKING_URI, else SQLite in the data folder.
        model_out: Also write the model's two files into this folder.
        force_champion: Make it champion even if its test says that it has learnt nothing.
        seed: Of LightGBM.
        json: Print run_id, model_uri, metrics, champion and warnings as JSON.
    """
    if target not in TARGETS:
        raise UsageError(f"--target is {target!r}, expected {' or '.join(TARGETS)}")
    if model_out:
        require_folder_place(model_out)
    import msgspec

    from models.registry import CHAMPION, champion_version, mlflow_client
    from training.tracking import record
    from training.train import Recipe, train_model

    uri = tracking_uri or load_settings().mlflow_uri
    with console.status("Opening the registry"):
        mlflow_client(uri)  # a registry that does not answer is told before the work, not after
    with progress("Growing trees", None) as bar:

        def on_progress(stage: str, done: int, total: int) -> None:
            bar.update(bar.task_ids[0], description=stage, completed=done, total=total)

        trained = train_model(
            frame,
            outcomes,
            target,
            train_until,
            train_from=train_from,
            label_known_at=label_known_at,
            test_from=test_from,
            test_until=test_until,
            name=name,
            recipe=Recipe(seed=seed),
            on_progress=on_progress,
        )
    if model_out:
        trained.model.save(model_out)
    becomes_champion = force_champion or not trained.doubts
    with console.status("Recording the run"):
        recorded = record(
            trained,
            tracking_uri=uri,
            source={"frame": str(frame), "outcomes": str(outcomes)},
            alias=CHAMPION if becomes_champion else None,
        )
    times = trained.times
    warnings = list(trained.doubts)
    if trained.metrics.auc is None:
        warnings.append(
            f"it is not tested: {trained.metrics.orders:,} orders with a label from "
            f"{times.test_from.isoformat()} on, {trained.metrics.positives:,} of them positive"
        )
    if not becomes_champion:
        warnings.append(_why_no_champion(recorded, champion_version(trained.model.name, uri)))
    for warning in warnings:
        console.print(
            f"[yellow]Warning:[/] {recorded.model_uri}: {escape(warning)}.", soft_wrap=True
        )
    result = {
        "run_id": recorded.run_id,
        "model_uri": recorded.model_uri,
        "name": trained.model.name,
        "version": recorded.version,
        "target": target,
        "champion": becomes_champion,
        "warnings": warnings,
        "metrics": msgspec.to_builtins(trained.metrics),
        "slices": trained.slices,
        "train_from": times.train_from.isoformat(),
        "train_until": times.train_until.isoformat(),
        "label_known_at": times.label_known_at.isoformat(),
        "test_from": times.test_from.isoformat(),
        "test_until": times.test_until.isoformat(),
    }
    emit(result, as_json=json, text="" if json else _table(result))


def _why_no_champion(recorded: "Recorded", champion: str | None) -> str:
    use = f"--force-champion makes it champion, --model {recorded.model_uri} uses it as it is"
    if champion is not None:
        return f"it is registered, and version {champion} stays champion; {use}"
    return (
        "it is registered, and there is no champion yet: train on more orders, a longer time or "
        f"other features, and decide by rules alone (--model none) until then; {use}"
    )


METRICS = {
    "auc": "AUC",
    "ap": "Average precision",
    "brier": "Brier score",
    "recall_at_1pct_fpr": "Recall at 1 % false positives",
    "precision_at_capacity": "Precision at review capacity",
    "recall_at_capacity": "Recall at review capacity",
    "mean_probability": "Mean probability",
    "expected_calibration_error": "Calibration error",
}


def _table(result: dict[str, Any]) -> str:
    from rich.console import Console
    from rich.table import Table

    metrics, slices = result["metrics"], result["slices"]
    role = "champion" if result["champion"] else "registered, not champion"
    table = Table(title=f"{result['model_uri']} is {role}", title_justify="left")
    table.add_column("On the test")
    table.add_column("", justify="right")
    for key, words in METRICS.items():
        value = metrics[key]
        table.add_row(words, "–" if value is None else f"{value:.4f}")
    table.add_section()
    table.add_row("Trained on", f"{slices['train']:,} orders")
    table.add_row("Tested on", f"{metrics['orders']:,} orders, {metrics['positives']:,} positive")
    if slices["untested"]:
        table.add_row("Labels still coming in", f"{slices['untested']:,} orders, not tested")
    plain = Console(file=StringIO(), width=100)  # the text may go into a file: no colours
    plain.print(table)
    assert isinstance(plain.file, StringIO)
    return plain.file.getvalue().rstrip()
