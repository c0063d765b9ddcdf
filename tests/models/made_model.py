"""A small risk model, trained on made vectors."""

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray

from models.calibration import Platt
from models.risk_model import ModelCard, RiskModel, trees_hash
from models.signature import Signature, text_hashes

CHANNELS = ("web", "app", "shop")
FEATURES = ("orders_1h", "channel", "unit_price")


def made_vectors(rows: int, seed: int = 1) -> NDArray[np.float64]:
    """(rows, 3) float64, the channel as a hash, some cells missing."""
    random = np.random.default_rng(seed)
    vectors = np.column_stack(
        [
            random.poisson(2.0, rows),
            random.choice(text_hashes(CHANNELS), rows),
            random.lognormal(5, 1, rows),
        ]
    ).astype(np.float64)
    vectors[random.random(vectors.shape) < 0.05] = np.nan
    return vectors


def made_model() -> RiskModel:
    """Risk grows with orders_1h, and is high in the app."""
    signature = Signature(FEATURES, {"channel": CHANNELS}, "f" * 32)
    vectors = made_vectors(3_000)
    coded = signature.encode(vectors)
    risk = np.nan_to_num(coded[:, 0]) + 2.0 * (coded[:, 1] == 1)
    label = (risk + np.random.default_rng(2).normal(size=len(risk)) > 3.5).astype(float)
    parameters = {"objective": "binary", "verbosity": -1, "num_threads": 1, "seed": 3}
    data = lgb.Dataset(coded, label, categorical_feature=[1], params=parameters)
    text = lgb.train(parameters, data, num_boost_round=20).model_to_string()
    return RiskModel(
        text,
        ModelCard(
            signature=signature,
            calibration=Platt(slope=1.1, offset=-0.2),
            trees=20,
            trees_sha256=trees_hash(text),
            name="risk",
            target="risk",
            trained_from="2026-01-01T00:00:00+00:00",
            trained_until="2026-02-01T00:00:00+00:00",
            label_known_at="2026-02-01T00:00:00+00:00",
        ),
    )
