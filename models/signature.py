"""What vector a model understands: feature names in order, categories, and a hash."""

from collections.abc import Mapping, Sequence
from functools import cached_property

import msgspec
import numpy as np
from numpy.typing import NDArray

from features.order_values import category_code


class SignatureMismatchError(ValueError):
    """The vector or the feature set is not the one that the model was trained on."""


class Signature(msgspec.Struct, frozen=True, dict=True):
    """Features in the order of the vector's columns.

    `categories` holds, per categorical feature, the texts seen in training; a text's place is the
    code that the trees use. In a vector the cell of a categorical feature is the 32-bit hash of
    its text (see `features`).
    """

    features: tuple[str, ...]
    categories: dict[str, tuple[str, ...]]
    feature_hash: str

    def require(self, feature_hash: str, features: Sequence[str]) -> None:
        """Refuse a feature set that the model was not trained on.

        Raises:
            SignatureMismatchError: names the first feature that differs.
        """
        if feature_hash == self.feature_hash and tuple(features) == self.features:
            return
        missing = [name for name in self.features if name not in set(features)]
        surplus = [name for name in features if name not in set(self.features)]
        if missing or surplus:
            detail = "; ".join(
                f"{word} {', '.join(names[:3])}{' …' if len(names) > 3 else ''}"
                for word, names in (("it expects", missing), ("it does not know", surplus))
                if names
            )
        elif tuple(features) != self.features:
            detail = "the same features in another order"
        else:
            detail = "the same names, declared differently"
        raise SignatureMismatchError(
            f"the model was trained on feature set {self.feature_hash[:12]}, "
            f"this is {feature_hash[:12]}: {detail}"
        )

    @cached_property
    def _tables(self) -> tuple[tuple[int, NDArray[np.float64], NDArray[np.float64]], ...]:
        """Per categorical feature: its column, the sorted hashes, and the code of each hash."""
        tables = []
        for name, texts in self.categories.items():
            hashes = text_hashes(texts)
            order = np.argsort(hashes, kind="stable")
            tables.append((self.features.index(name), hashes[order], order.astype(np.float64)))
        return tuple(tables)

    def encode(self, vectors: NDArray[np.float64], *, copy: bool = True) -> NDArray[np.float64]:
        """Replace the text hashes by the model's codes; a text not seen in training is missing.

        Args:
            vectors: (n, F) float64, as the feature engine makes them.
            copy: False writes the codes into `vectors`.
        """
        if vectors.ndim != 2 or vectors.shape[1] != len(self.features):
            raise SignatureMismatchError(
                f"the model takes {len(self.features)} features a row, got shape {vectors.shape}"
            )
        if copy and self.categories:
            vectors = vectors.copy()
        for column, hashes, codes in self._tables:
            cells = vectors[:, column]
            if len(hashes) == 0:
                cells[:] = np.nan
                continue
            at = np.minimum(np.searchsorted(hashes, cells), len(hashes) - 1)
            cells[:] = np.where(hashes[at] == cells, codes[at], np.nan)
        return vectors


def text_hashes(texts: Sequence[str]) -> NDArray[np.float64]:
    """The 32-bit hash of each text as a float (exact), as in the vectors of the feature engine."""
    return np.array([category_code(text) for text in texts], dtype=np.float64)


def vocabularies(
    counts: Mapping[str, Mapping[str, int]], *, least: int = 2, most: int = 1_000
) -> dict[str, tuple[str, ...]]:
    """The categories worth a code: seen at least `least` times, the `most` frequent.

    Args:
        counts: per categorical feature how often each text occurs in the training slice.
        least: A text seen less often is as good as never seen.
        most: Beyond that many the trees could not tell them apart anyway.
    """
    chosen = {}
    for name, texts in counts.items():
        ranked = sorted(texts.items(), key=lambda item: (-item[1], item[0]))
        frequent = [text for text, count in ranked if count >= least][:most]
        by_hash = dict(zip(reversed(text_hashes(frequent)), reversed(frequent), strict=True))
        chosen[name] = tuple(text for text in frequent if text in set(by_hash.values()))
    return chosen
