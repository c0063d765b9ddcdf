import json
from pathlib import Path

import numpy as np
import pytest

from models.explain import top_reasons
from models.risk_model import RiskModel
from models.signature import Signature, SignatureMismatchError, text_hashes, vocabularies
from orders.errors import UserError
from tests.models.made_model import CHANNELS, FEATURES, made_model, made_vectors


@pytest.fixture(scope="module")
def model() -> RiskModel:
    return made_model()


def test_a_saved_model_predicts_the_same_bits(model: RiskModel, tmp_path: Path):
    vectors = made_vectors(2_000, seed=9)
    model.save(tmp_path / "artefact")
    loaded = RiskModel.load(tmp_path / "artefact")
    np.testing.assert_array_equal(loaded.predict(vectors), model.predict(vectors))
    np.testing.assert_array_equal(loaded.contributions(vectors), model.contributions(vectors))
    assert (loaded.name, loaded.target, loaded.signature) == ("risk", "risk", model.signature)
    assert loaded.version == model.version


def test_the_artefact_is_text_and_json(model: RiskModel, tmp_path: Path):
    model.save(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model.json", "model.txt"]
    card = json.loads((tmp_path / "model.json").read_text())
    assert card["calibration"] == {"method": "platt", "slope": 1.1, "offset": -0.2}
    assert card["signature"]["features"] == list(FEATURES)
    assert (tmp_path / "model.txt").read_text().startswith("tree\n")


def test_a_row_is_predicted_alike_alone_and_in_a_chunk(model: RiskModel):
    vectors = made_vectors(50)
    alone = np.concatenate([model.predict(vectors[i : i + 1]) for i in range(len(vectors))])
    np.testing.assert_array_equal(alone, model.predict(vectors))


def test_prediction_leaves_the_vectors_alone(model: RiskModel):
    vectors = made_vectors(50)
    before = vectors.copy()
    model.predict(vectors)
    np.testing.assert_array_equal(vectors, before)


def test_no_rows_give_no_probabilities(model: RiskModel):
    assert model.predict(np.empty((0, 3))).shape == (0,)
    assert model.contributions(np.empty((0, 3))).shape == (0, 3)


def test_a_text_not_seen_in_training_counts_as_missing(model: RiskModel):
    vectors = made_vectors(20)
    unseen, missing = vectors.copy(), vectors.copy()
    unseen[:, 1] = text_hashes(["teletext"])[0]
    missing[:, 1] = np.nan
    np.testing.assert_array_equal(model.predict(unseen), model.predict(missing))
    app = vectors.copy()
    app[:, 1] = text_hashes(["app"])[0]
    assert (model.predict(app) > model.predict(missing)).any()


def test_contributions_and_the_average_order_add_up_to_the_raw_score(model: RiskModel):
    vectors = made_vectors(100)
    rest = model.raw_scores(vectors) - model.contributions(vectors).sum(axis=1)
    np.testing.assert_allclose(rest, rest[0])


def test_the_strongest_reason_comes_first(model: RiskModel):
    busy = np.array([[9.0, text_hashes(["app"])[0], 100.0]])
    [reasons] = top_reasons(model.contributions(busy), FEATURES, most=2)
    assert [reason.feature for reason in reasons] == ["orders_1h", "channel"]
    assert reasons[0].log_odds > reasons[1].log_odds > 0


def test_a_vector_of_another_width_is_refused(model: RiskModel):
    with pytest.raises(SignatureMismatchError, match=r"takes 3 features a row, got shape \(2, 4\)"):
        model.predict(np.zeros((2, 4)))


@pytest.mark.parametrize(
    ("feature_hash", "features", "message"),
    [
        ("f" * 32, ("orders_1h", "channel"), "it expects unit_price"),
        ("e" * 32, (*FEATURES, "ip"), "it does not know ip"),
        ("e" * 32, FEATURES[::-1], "in another order"),
        ("e" * 32, FEATURES, "declared differently"),
    ],
)
def test_another_feature_set_is_refused_by_name(
    model: RiskModel, feature_hash: str, features: tuple[str, ...], message: str
):
    with pytest.raises(SignatureMismatchError, match=message):
        model.signature.require(feature_hash, features)


def test_its_own_feature_set_is_accepted(model: RiskModel):
    model.signature.require("f" * 32, FEATURES)


def test_a_category_keeps_its_code_whatever_the_sequence_of_hashes():
    signature = Signature(("channel",), {"channel": CHANNELS}, "")
    codes = signature.encode(text_hashes(["shop", "web", "app"])[:, None])
    assert codes[:, 0].tolist() == [2.0, 0.0, 1.0]


def test_rare_texts_get_no_code():
    counts = {"agent": {"a": 5, "b": 1, "c": 7, "d": 2}}
    assert vocabularies(counts) == {"agent": ("c", "a", "d")}
    assert vocabularies(counts, most=1) == {"agent": ("c",)}


def test_a_folder_without_a_model_is_named(tmp_path: Path):
    with pytest.raises(UserError, match="holds no model: No such file"):
        RiskModel.load(tmp_path / "nothing")


def test_trees_that_were_exchanged_are_found_out(model: RiskModel, tmp_path: Path):
    model.save(tmp_path)
    (tmp_path / "model.txt").write_text("tree\n")
    with pytest.raises(UserError, match=r"model\.txt is not the one"):
        RiskModel.load(tmp_path)


def test_a_damaged_card_is_named(model: RiskModel, tmp_path: Path):
    model.save(tmp_path)
    (tmp_path / "model.json").write_text('{"name": 3}')
    with pytest.raises(UserError, match="damaged model"):
        RiskModel.load(tmp_path)
