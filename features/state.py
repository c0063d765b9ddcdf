"""What every feature store promises."""

from typing import Protocol

import numpy as np

from features.columns import EventColumns


class StateUnavailableError(RuntimeError):
    """The store does not answer, or cannot write now; the same call may be made again.

    Whether the events were taken is not known. Made again by the same `FeatureState`, the call
    returns what it would have returned; made by another, events that were taken are repeats.
    """


class StateLostError(RuntimeError):
    """What the store knew is gone, or another state is in its place; it must be built again."""


class StateCorruptedError(RuntimeError):
    """A value in the store is not what was put there; the message names its key."""


class FeatureState(Protocol):
    """What we know of every entity value, and the features that follow from it.

    Two stores given the same events in the same sequence return bit-equal vectors.
    """

    @property
    def unattributed(self) -> int:
        """Outcomes taken whose order is not known, so far; they wait for it."""
        ...

    @property
    def turns(self) -> np.ndarray | None:
        """When a store that several processes write to took the orders of the last `apply`.

        (n_orders,) int64: which call it was of all that the store took, from 1; 0 where that is not
        known: of a call made again, and of an order that another call took before. None: one
        process writes alone.
        """
        ...

    def apply(self, events: EventColumns) -> np.ndarray:
        """Take events in their sequence; return the features of the orders among them.

        Each order's features are computed as of its event time from what was applied before it,
        then the order is applied. An outcome attaches to its order's entity values; one whose
        order is not known yet waits for it. The same order id again, or the same outcome (order
        id, class, event time) again, changes nothing; a repeated order gets its features as if it
        had not been there. How events are cut into calls makes no difference.

        Returns:
            (n_orders, n_features) float64, C order, owned by the caller. Columns as in
            `FeatureSet.names`; NaN is missing.

        Raises:
            StateUnavailableError: A store outside this process does not answer.
            StateLostError: It answers, and has lost what it knew.
            StateCorruptedError: It holds something else than what was put there.
        """
        ...
