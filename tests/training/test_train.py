import json
import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from features.definitions import FEATURES
from features.feature_set import feature_set
from models.registry import load_model, mlflow_client
from orders.errors import UserError
from orders.tables import frame_from_orders
from preempt.bootstrap import build_model
from preempt.settings import Settings
from tests.training.made_history import History, at, made_history
from training.frame import open_frame
from training.tracking import EXPERIMENT, Recorded, record
from training.train import Recipe, Trained, frame_hash, predict_rows, train_model

RECIPE = Recipe(most_trees=60, threads=1)


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> History:
    return made_history(tmp_path_factory.mktemp("history"))


@pytest.fixture(scope="module")
def trained(history: History) -> Trained:
    return train_model(history.frame, history.folder, "risk", at(60), recipe=RECIPE)


@pytest.fixture(scope="module")
def tracking_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('registry') / 'mlflow' / 'mlflow.db'}"


@pytest.fixture(scope="module")
def recorded(trained: Trained, tracking_uri: str) -> Recorded:
    return record(trained, tracking_uri=tracking_uri, source={"frame": "frame.parquet"})


def train(history: History, **changed: Any) -> Trained:
    arguments: dict[str, Any] = {
        "frame_path": history.frame,
        "outcomes_folder": history.folder,
        "target_name": "risk",
        "train_until": at(60),
        "recipe": RECIPE,
    }
    return train_model(**{**arguments, **changed})


def test_the_model_finds_what_is_risky(trained: Trained):
    metrics = trained.metrics
    assert metrics.auc is not None
    assert metrics.auc > 0.75
    assert metrics.expected_calibration_error is not None
    assert metrics.expected_calibration_error < 0.1  # 343 orders
    assert max(trained.gain, key=trained.gain.__getitem__) == "orders_1h"


def test_training_twice_gives_the_same_model(history: History, trained: Trained):
    again = train(history)
    assert again.model.card == trained.model.card
    assert again.metrics == trained.metrics


def test_another_seed_gives_another_model(history: History, trained: Trained):
    other = train(history, recipe=Recipe(most_trees=60, threads=1, seed=8))
    assert other.model.card.trees_sha256 != trained.model.card.trees_sha256


def test_labels_that_come_later_do_not_change_the_model(
    history: History, trained: Trained, tmp_path: Path
):
    later = History(tmp_path, history.frame)
    shutil.copy(history.folder / "orders.parquet", tmp_path)
    outcomes = pl.read_parquet(history.folder / "outcomes.parquet")
    after = pl.col("event_time") > at(60)
    outcomes.with_columns(
        kind=pl.when(after).then(pl.lit("charged_back")).otherwise("kind")
    ).write_parquet(tmp_path / "outcomes.parquet")
    changed = train(later)
    assert changed.model.card == trained.model.card
    assert changed.metrics != trained.metrics


def test_features_after_the_training_range_do_not_change_the_model(
    history: History, trained: Trained, tmp_path: Path
):
    frame = pl.read_parquet(history.frame)
    changed = tmp_path / "changed.parquet"
    frame.with_columns(
        orders_1h=pl.when(pl.col("event_time") >= at(60)).then(99.0).otherwise("orders_1h"),
        channel=pl.when(pl.col("event_time") >= at(60)).then(pl.lit("pigeon")).otherwise("channel"),
    ).write_parquet(changed)
    assert train(history, frame_path=changed).model.card == trained.model.card


def test_a_frame_is_read_as_the_feature_engine_would_give_it(history: History):
    frame = open_frame(history.frame)
    [vectors] = frame.matrices([np.arange(3)])
    channel = pl.read_parquet(history.frame)["channel"].head(3)
    from models.signature import text_hashes

    expected = [np.nan if text is None else text_hashes([text])[0] for text in channel]
    np.testing.assert_array_equal(vectors[:, frame.features.index("channel")], expected)
    assert vectors.flags.c_contiguous


def test_a_frame_of_the_declared_features_has_their_hash(tmp_path: Path):
    declared = feature_set({"colour": "categorical", "weight": "numeric"})
    row: dict[str, Any] = {"order_id": ["o"], "event_time": [at()]}
    for name in declared.names:
        row[name] = pl.Series([None], dtype=pl.String if name in declared.categorical else None)
    frame = pl.DataFrame(row).with_columns(
        pl.col("event_time").cast(pl.Datetime("ms", "UTC")), pl.col(pl.Null).cast(pl.Float64)
    )
    frame.write_parquet(tmp_path / "declared.parquet")
    assert frame_hash(open_frame(tmp_path / "declared.parquet")) == declared.hash
    frame.drop(FEATURES[0].name).write_parquet(tmp_path / "fewer.parquet")
    assert frame_hash(open_frame(tmp_path / "fewer.parquet")) != declared.hash


def test_a_dataset_may_set_its_own_maturity(history: History, tmp_path: Path):
    for name in ("orders.parquet", "outcomes.parquet"):
        shutil.copy(history.folder / name, tmp_path)
    (tmp_path / "dataset.json").write_text('{"targets": {"risk": {"maturity_days": 2}}}')
    own = train(History(tmp_path, history.frame))
    assert own.slices["fit"] > train(history).slices["fit"]


def test_a_training_to_the_end_leaves_no_test_and_no_metrics(history: History):
    assert train(history, train_until=at(100)).metrics.auc is None


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"target_name": "luck"}, "unknown target 'luck', there are: cancel, risk"),
        ({"train_until": at(-1)}, "the training range is empty"),
        ({"frame_path": Path("nowhere.parquet")}, "no such file; make it with `preempt backfill"),
        ({"outcomes_folder": Path("nowhere")}, "nowhere"),
        (
            {"target_name": "cancel", "label_known_at": at(0.01)},
            "none of the .* has a label.*7 days after",
        ),
        (
            {"train_until": at(10)},
            r"are 1: .* only 14 days .* --label-known-at well after 2026-01-15",
        ),
    ],
)
def test_what_cannot_train_is_told_in_one_line(
    history: History, changed: dict[str, Any], message: str
):
    with pytest.raises(UserError, match=message) as told:
        train(history, **changed)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"order_id": ["o"]}, "column event_time must be .* it is absent"),
        ({"order_id": ["o"], "event_time": [at()]}, "no feature columns"),
        ({"order_id": ["x"], "event_time": [at()], "f": [1.0]}, "1 of 1 orders .* are not in"),
        ({"order_id": ["x"], "event_time": [at()], "f": [[1.0]]}, "feature f is List"),
        ({"order_id": [], "event_time": [], "f": []}, "no rows"),
    ],
)
def test_a_frame_that_is_none_is_told(
    history: History, tmp_path: Path, columns: dict[str, list[Any]], message: str
):
    frame = pl.DataFrame(columns).with_columns(pl.col("order_id").cast(pl.String))
    if "event_time" in columns:
        frame = frame.with_columns(pl.col("event_time").cast(pl.Datetime("ms", "UTC")))
    if columns.get("f") == []:
        frame = frame.with_columns(pl.col("f").cast(pl.Float64))
    frame.write_parquet(tmp_path / "frame.parquet")
    with pytest.raises(UserError, match=message):
        train(history, frame_path=tmp_path / "frame.parquet", train_until=at(1))


def test_a_file_that_is_not_parquet_is_told(history: History, tmp_path: Path):
    (tmp_path / "frame.parquet").write_text("order_id,event_time\n")
    with pytest.raises(UserError, match="is not a Parquet file"):
        train(history, frame_path=tmp_path / "frame.parquet")


def test_a_data_set_where_a_frame_is_asked_for_is_told_with_the_next_step(tmp_path: Path):
    frame_from_orders([]).write_parquet(tmp_path / "orders.parquet")
    for path, words in (("orders.parquet", "is the orders of a data set"), ("", "is a folder")):
        with pytest.raises(UserError, match=rf"{words}.*`preempt backfill {tmp_path} --out frame"):
            open_frame(tmp_path / path)


def test_the_run_records_what_is_needed_to_judge_it(
    trained: Trained, recorded: Recorded, tracking_uri: str
):
    client = mlflow_client(tracking_uri)
    run = client.get_run(recorded.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["auc"] == trained.metrics.auc
    assert run.data.params["train_until"] == at(60).isoformat()
    assert run.data.params["frame"] == "frame.parquet"
    assert run.data.tags["feature_hash"] == trained.model.signature.feature_hash
    assert "git_revision" in run.data.tags
    artifacts = {item.path for item in client.list_artifacts(recorded.run_id)}
    assert artifacts == {"model", "charts", "importance.csv", "calibration.json"}
    charts = {item.path for item in client.list_artifacts(recorded.run_id, "charts")}
    assert charts == {"charts/calibration.png", "charts/importance.png"}
    assert client.get_experiment_by_name(EXPERIMENT) is not None


@pytest.mark.parametrize("uri", ["risk", "models:/risk@champion", "models:/risk/1"])
def test_the_registered_model_predicts_the_same_bits(
    history: History, trained: Trained, recorded: Recorded, tracking_uri: str, uri: str
):
    loaded = load_model(uri, tracking_uri)
    frame, rows = open_frame(history.frame), np.arange(500)
    np.testing.assert_array_equal(
        predict_rows(loaded, frame, rows), predict_rows(trained.model, frame, rows)
    )
    assert (loaded.name, loaded.version) == ("risk", recorded.version)


def test_a_folder_is_a_model_too(trained: Trained, tracking_uri: str, tmp_path: Path):
    trained.model.save(tmp_path / "model")
    assert load_model(str(tmp_path / "model"), tracking_uri).card == trained.model.card


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("unknown", "no model 'unknown' in the registry .* --name unknown"),
        ("models:/risk@nobody", "no model 'models:/risk@nobody'"),
        ("models:/risk/99", "no model 'models:/risk/99'"),
        ("models:/", "cannot read model 'models:/'"),
        ("no/such/folder", "holds no model"),
    ],
)
def test_a_model_that_is_not_there_is_told(tracking_uri: str, uri: str, message: str):
    with pytest.raises(UserError, match=message):
        load_model(uri, tracking_uri)


@pytest.mark.parametrize("uri", ["nonsense://x", "sqlite:////proc/no/mlflow.db"])
def test_a_registry_that_cannot_be_opened_is_told(uri: str):
    with pytest.raises(UserError, match=r"cannot reach MLflow at .* set --tracking-uri"):
        mlflow_client(uri)


def run_command(arguments: list[str]) -> None:
    """As `preempt` would, errors raised."""
    from cyclopts import App

    from preempt.commands.score import score
    from preempt.commands.train import train as train_command

    app = App()
    app.command(train_command, name="train")
    app.command(score, name="score")
    app(arguments, exit_on_error=False, print_error=False, result_action="return_value")


@pytest.mark.usefixtures("recorded")
def test_the_commands_print_one_json_object_each(
    history: History,
    tracking_uri: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    common = ["--tracking-uri", tracking_uri, "--json"]
    run_command(
        [
            "train",
            str(history.frame),
            *("--outcomes", str(history.folder), "--target", "risk", "--train-until", "75%"),
            *("--name", "second", "--model-out", str(tmp_path / "model")),
            *common,
        ]
    )
    printed = json.loads(capsys.readouterr().out)
    assert printed["model_uri"] == "models:/second/1"
    assert {"auc", "ap", "brier", "recall_at_1pct_fpr"} <= printed["metrics"].keys()
    assert datetime.fromisoformat(printed["train_until"]).tzinfo is not None

    scores = tmp_path / "scores.parquet"
    run_command(["score", str(history.frame), "--model", "second", "--out", str(scores), *common])
    counts = json.loads(capsys.readouterr().out)
    assert counts["orders"] == sum(counts["tiers"].values()) == 4_000
    found = pl.read_parquet(scores)
    assert found.columns == ["order_id", "probability", "points", "tier"]
    assert found.filter(pl.col("points") >= 120)["tier"].unique().to_list() == ["freeze"]


@pytest.mark.parametrize("until", ["2026-03-01", "2026-03-01T00:00:00", "soon", "0%", "100%", "x%"])
def test_a_time_without_zone_or_sense_is_wrong_use(history: History, until: str):
    from cyclopts import CycloptsError

    arguments = ["train", str(history.frame), "--outcomes", str(history.folder)]
    with pytest.raises(CycloptsError, match=r"no zone|ISO 8601|between 0% and 100%"):
        run_command([*arguments, "--target", "risk", "--train-until", until])


@pytest.mark.usefixtures("recorded")
def test_a_frame_of_other_features_is_refused(history: History, tracking_uri: str, tmp_path: Path):
    pl.read_parquet(history.frame).drop("channel").write_parquet(tmp_path / "other.parquet")
    with pytest.raises(UserError, match=r"does not fit model 'risk': .* it expects channel"):
        run_command(
            [
                *("score", str(tmp_path / "other.parquet"), "--model", "risk"),
                *("--out", str(tmp_path / "s.parquet"), "--tracking-uri", tracking_uri),
            ]
        )


def test_a_model_that_learnt_nothing_is_registered_and_not_champion(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    history = made_history(tmp_path / "noise", rows=1_500, telling=False)
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    arguments = ["train", str(history.frame), "--outcomes", str(history.folder)]
    arguments += ["--target", "risk", "--train-until", "75%", "--tracking-uri", uri, "--json"]

    run_command(arguments)
    shown = capsys.readouterr()
    printed = json.loads(shown.out)
    assert printed["champion"] is False
    assert "no better than chance" in printed["warnings"][0]
    assert "there is no champion yet" in printed["warnings"][-1]
    assert "Warning: models:/risk/1: it is no better than chance" in shown.err
    with pytest.raises(UserError, match="models:/NAME/VERSION where none is champion"):
        load_model("risk", uri)

    run_command([*arguments, "--force-champion"])
    assert json.loads(capsys.readouterr().out)["champion"] is True
    assert load_model("risk", uri).version == "2"

    run_command(arguments)
    assert "version 2 stays champion" in json.loads(capsys.readouterr().out)["warnings"][-1]


def test_a_model_of_another_target_has_no_points_and_no_tiers(
    history: History, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    trained = train(history, target_name="cancel", name="cancel")
    trained.model.save(tmp_path / "model")
    scores = tmp_path / "scores.parquet"
    run_command(
        [
            *("score", str(history.frame), "--model", str(tmp_path / "model")),
            *("--out", str(scores), "--json"),
        ]
    )
    shown = capsys.readouterr()
    assert json.loads(shown.out)["tiers"] is None
    assert "foretells 'cancel', not 'risk': points and tier are null" in shown.err
    found = pl.read_parquet(scores)
    assert found["probability"].null_count() == 0
    assert found["points"].null_count() == found["tier"].null_count() == found.height
    with pytest.raises(UserError, match="foretells 'cancel', and only 'risk' is worth points"):
        build_model(Settings(model=str(tmp_path / "model")))
