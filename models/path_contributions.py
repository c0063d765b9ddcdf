"""What each feature adds to the score of boosted trees, along the path that a row takes.

Saabas, "Interpreting random forests" (2014); XGBoost has the same as `approx_contribs`. A node is
worth the mean score of the training rows that reached it. A row walks from the root to a leaf, and
every split on the way gives its feature what the child taken is worth more than the split itself:

    score = base + sum of contributions,    base = sum of what the roots are worth

A row costs a walk per tree, where TreeSHAP visits every leaf of every tree. What is lost is
fairness between the features of a path: each gets what it changes at its place, given the splits
above it, and not its mean over all sequences. Where features work together, those near the leaves
get too much; of two that bring the same news, the one that the tree asked first gets it; and a
feature that the model came to depend on more may get less.

Everything compiled is in this one file: numba's cache notices a change of the file that a function
is in, and of no other.
"""

import re
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from orders.errors import UserError

# LightGBM's decision_type: two flags, then two bits that say which values are missing.
CATEGORICAL, DEFAULT_LEFT = 1, 2
ZERO_IS_MISSING, NAN_IS_MISSING = 1, 2  # 0: none is, and NaN counts as zero

ZERO = float(np.float32(1e-35))  # LightGBM's kZeroThreshold: what is not larger is zero
CODE_END = 2.0**31  # codes are int32; from here on they belong to no category
LEAF = -1


class Trees(NamedTuple):
    """The S splits of all trees, one tree after another.

    A leaf has no place of its own: what it is worth is in the step that leads to it.
    """

    root: np.ndarray  # (T,) int32 the first split of each tree that has one
    feature: np.ndarray  # (S,) int32 column of the row
    decision: np.ndarray  # (S,) uint8 decision_type
    threshold: np.ndarray  # (S,) float64 of a numerical split
    bits_from: np.ndarray  # (S,) int32 of a categorical split: its words in `bits` …
    bits_until: np.ndarray  # (S,) int32 … end before this one
    child: np.ndarray  # (S, 2) int32 the splits on the left and on the right, or LEAF
    step: np.ndarray  # (S, 2) float64 what that child is worth, less what the split is worth
    bits: np.ndarray  # (W,) uint32 the categories that go left


class PathModel(NamedTuple):
    """Trees, and the score that they start from."""

    trees: Trees
    base: float
    n_features: int


def parse_trees(text: str) -> PathModel:
    """Read LightGBM's model text.

    A node is worth the mean of its leaves' values by the number of training rows in each, as in
    TreeSHAP, so `base` is the last column of LightGBM's `pred_contrib`. The text's own
    `internal_value` will not do: it is rounded to six digits, and is no mean of the leaves, since
    each is regularised for itself.

    Raises:
        UserError: The trees give several scores a row, are averaged, or have linear leaves.
    """
    head, *blocks = re.split(r"^Tree=\d+\n", text.partition("\nend of trees")[0], flags=re.M)
    header = _fields(head)
    if header.get("num_tree_per_iteration") != "1":
        raise UserError("the model gives several scores an order: train it with objective = binary")
    if "average_output" in header:
        raise UserError("the model averages its trees: train it with boosting = gbdt")
    columns: list[list[np.ndarray]] = [[column] for column in _no_trees()]
    base, n_splits, n_bits = 0.0, 0, 0
    for block in blocks:
        worth, tree = _parse_tree(_fields(block), n_splits, n_bits)
        base += worth
        for column, more in zip(columns, tree, strict=True):
            column.append(more)
        n_splits += len(tree.feature)
        n_bits += len(tree.bits)
    trees = Trees(*(np.concatenate(column) for column in columns))
    return PathModel(trees, base, int(header["max_feature_idx"]) + 1)


def path_contributions(model: PathModel, rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """What each feature adds to the score of each row, (n, F), in the units of the score.

    With `model.base` a row adds up to LightGBM's raw score, but for rounding.

    Args:
        model: From `parse_trees`.
        rows: (n, F) float64, what LightGBM's `predict` takes.
    """
    if rows.ndim != 2 or rows.shape[1] != model.n_features:
        raise ValueError(f"the trees take {model.n_features} columns, got shape {rows.shape}")
    # One layout only: another would be compiled for itself, in the middle of the work.
    rows = np.require(rows, np.float64, ["C", "W"])
    out = np.zeros(rows.shape)
    _walk(model.trees, rows, out)
    return out


def _no_trees() -> Trees:
    return Trees(
        root=np.empty(0, np.int32),
        feature=np.empty(0, np.int32),
        decision=np.empty(0, np.uint8),
        threshold=np.empty(0),
        bits_from=np.empty(0, np.int32),
        bits_until=np.empty(0, np.int32),
        child=np.empty((0, 2), np.int32),
        step=np.empty((0, 2)),
        bits=np.empty(0, np.uint32),
    )


def _fields(block: str) -> dict[str, str]:
    pairs = (line.partition("=") for line in block.splitlines())
    return {key: value for key, _, value in pairs}


def _parse_tree(fields: dict[str, str], n_splits: int, n_bits: int) -> tuple[float, Trees]:
    """What the root is worth, and the tree's part of `Trees` after so many splits and words."""
    if fields.get("is_linear", "0") != "0":
        raise UserError("the model has linear leaves: train it with linear_tree = false")

    def numbers(key: str, dtype: type) -> np.ndarray:
        return np.array(fields.get(key, "").split(), dtype)

    leaf_value = numbers("leaf_value", np.float64)
    if len(leaf_value) == 1:
        return float(leaf_value[0]), _no_trees()
    child = np.column_stack([numbers("left_child", np.int32), numbers("right_child", np.int32)])
    decision, threshold = numbers("decision_type", np.uint8), numbers("threshold", np.float64)
    n = len(child)
    place = np.where(child >= 0, child, n + ~child)  # leaves after the splits
    worth = _worths(place, leaf_value, numbers("leaf_count", np.float64))
    # A categorical split has the number of its bit set where a numerical one has its threshold.
    categorical = (decision & CATEGORICAL) != 0
    bit_set = np.where(categorical, threshold, 0).astype(np.int32)
    ends = numbers("cat_boundaries", np.int32) if categorical.any() else np.zeros(2, np.int32)
    return float(worth[0]), Trees(
        root=np.array([n_splits], np.int32),
        feature=numbers("split_feature", np.int32),
        decision=decision,
        threshold=threshold,
        bits_from=ends[bit_set] + np.int32(n_bits),
        bits_until=ends[bit_set + 1] + np.int32(n_bits),
        child=np.where(child >= 0, child + np.int32(n_splits), np.int32(LEAF)),
        step=worth[place] - worth[:n, None],
        bits=numbers("cat_threshold", np.uint32),
    )


def _worths(child: np.ndarray, leaf_value: np.ndarray, leaf_count: np.ndarray) -> np.ndarray:
    """What each split of a tree is worth, then each leaf; `child` numbers them in this order."""
    if not leaf_count.any():  # trees that were put together by hand: leaves count alike
        leaf_count = np.ones(len(leaf_value))
    unknown = [0.0] * len(child)
    worth, count = unknown + leaf_value.tolist(), unknown + leaf_count.tolist()
    children = child.tolist()
    for split in range(len(child) - 1, -1, -1):  # LightGBM numbers a split before those below it
        left, right = children[split]
        count[split] = count[left] + count[right]
        share = count[right] / count[split] if count[split] else 0.5
        worth[split] = worth[left] + share * (worth[right] - worth[left])
    return np.array(worth)


@njit(cache=True, nogil=True)
def _walk(trees, rows, out):
    # Arrays are taken out of the tuple once: each time costs a reference count, which is atomic.
    root, features, decisions, thresholds, bits_from, bits_until, child, step, bits = trees
    # Tree by tree: the splits of one tree stay in the cache while all rows walk down it.
    for tree in range(len(root)):
        for row in range(len(rows)):
            split = root[tree]
            while split != LEAF:
                feature = features[split]
                value = rows[row, feature]
                decision = decisions[split]
                missing = decision >> 2
                if decision & CATEGORICAL:
                    left = False
                    if -1.0 < value < CODE_END:  # NaN is not
                        code = np.int64(value)
                        word = bits_from[split] + (code >> 5)
                        left = word < bits_until[split] and (bits[word] >> (code & 31)) & 1 != 0
                elif (missing == NAN_IS_MISSING and np.isnan(value)) or (
                    missing == ZERO_IS_MISSING and not abs(value) > ZERO  # NaN is missing too
                ):
                    left = decision & DEFAULT_LEFT != 0
                else:
                    left = (0.0 if np.isnan(value) else value) <= thresholds[split]
                side = 0 if left else 1
                out[row, feature] += step[split, side]
                split = child[split, side]
