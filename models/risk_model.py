"""The risk model: boosted trees, a calibration, and the signature of what they take.

At rest it is a folder of two files, `model.txt` (LightGBM's own text) and `model.json` (all the
rest, plain numbers). Nothing is pickled: a model can be read, compared and trusted.
"""

import hashlib
from pathlib import Path

import lightgbm as lgb
import msgspec
import numpy as np
from numpy.typing import NDArray

from models.calibration import Calibration, probability
from models.path_contributions import parse_trees, path_contributions
from models.signature import Signature
from orders.errors import UserError

TREES_FILE = "model.txt"
SIGNATURE_FILE = "model.json"


class ModelCard(msgspec.Struct, frozen=True, kw_only=True):
    """The contents of `model.json`. Times are ISO 8601 with zone."""

    schema: str = "risk-model"
    version: int = 1
    name: str
    target: str
    signature: Signature
    calibration: Calibration
    trained_from: str
    trained_until: str
    label_known_at: str
    trees: int
    trees_sha256: str


ONE_THREAD = 1  # more cost more than they bring for the few hundred rows of a chunk


class RiskModel:
    """A trained model: vectors in, calibrated probabilities out. One thread, no state.

    Attributes:
        name: The registered name, or the target's where it was never registered.
        version: The registered version, or the beginning of the artefact's hash.
    """

    def __init__(
        self, trees: str, card: ModelCard, *, name: str | None = None, version: str | None = None
    ) -> None:
        self.card = card
        self.name = name or card.name
        self.version = version or card.trees_sha256[:12]
        self._text = trees
        self._booster = lgb.Booster(model_str=trees)
        self._paths = parse_trees(trees)

    @property
    def target(self) -> str:
        """What the probability is of."""
        return self.card.target

    @property
    def signature(self) -> Signature:
        """What vector the model takes."""
        return self.card.signature

    def predict(self, vectors: NDArray[np.float64]) -> NDArray[np.float64]:
        """Calibrated probabilities, (n,).

        Args:
            vectors: (n, F) float64 as the feature engine makes them, not changed.

        Raises:
            SignatureMismatchError: Not as many columns as features.
        """
        return probability(self.card.calibration.log_odds(self.raw_scores(vectors)))

    def raw_scores(self, vectors: NDArray[np.float64]) -> NDArray[np.float64]:
        """The trees' log-odds before calibration, (n,); they rank as the probabilities do."""
        encoded = self.signature.encode(vectors)
        if len(encoded) == 0:
            return np.empty(0)
        return np.asarray(self._booster.predict(encoded, raw_score=True, num_threads=ONE_THREAD))

    def contributions(self, vectors: NDArray[np.float64]) -> NDArray[np.float64]:
        """What each feature adds to the trees' log-odds, (n, F).

        A row's sum, plus `average_log_odds`, is its raw score. By the path that the row takes down
        each tree (Saabas 2014): every split gives its feature the mean score of the training rows
        on the side taken, less that of the training rows at the split. Costs about a prediction,
        where TreeSHAP costs near a hundred; but of features that work together it favours those
        near the leaves, and the sequence of splits matters (see `models.path_contributions`).

        The first call in a process compiles, or reads the compiled code: up to a second.
        """
        return path_contributions(self._paths, self.signature.encode(vectors))

    @property
    def average_log_odds(self) -> float:
        """The trees' log-odds of the average training row, which contributions start from."""
        return self._paths.base

    def save(self, folder: Path) -> None:
        """Write the two files of the artefact; the folder is made."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / TREES_FILE).write_text(self._text, encoding="utf-8", newline="\n")
        text = msgspec.json.format(msgspec.json.encode(self.card), indent=1)
        (folder / SIGNATURE_FILE).write_bytes(text + b"\n")

    @classmethod
    def load(
        cls, folder: Path, *, name: str | None = None, version: str | None = None
    ) -> "RiskModel":
        """Read an artefact.

        Args:
            folder: Where the two files are.
            name: The registered name, where the registry knows one.
            version: The registered version, likewise.

        Raises:
            UserError: A file is missing or damaged, or the two do not belong together.
        """
        try:
            card = msgspec.json.decode((folder / SIGNATURE_FILE).read_bytes(), type=ModelCard)
            trees = (folder / TREES_FILE).read_text(encoding="utf-8")
        except OSError as error:
            raise UserError(
                f"{folder} holds no model: {error.strerror} ({error.filename})"
            ) from None
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise UserError(f"{folder} holds a damaged model: {error}; train it again") from None
        if trees_hash(trees) != card.trees_sha256:
            raise UserError(
                f"{folder}: {TREES_FILE} is not the one {SIGNATURE_FILE} was written with; "
                "train it again"
            )
        return cls(trees, card, name=name, version=version)


def trees_hash(trees: str) -> str:
    """SHA-256 (hex) of LightGBM's text."""
    return hashlib.sha256(trees.encode()).hexdigest()
