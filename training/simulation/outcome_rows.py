"""Outcomes before they are written out: codes and numbers, 20 bytes each while they wait."""

from collections.abc import Iterable
from typing import get_args

import numpy as np
import polars as pl

from orders.events import OutcomeKind
from orders.tables import OUTCOME_SCHEMA, TIME
from training.simulation.cancellation_words import LEAVES, TEXTS
from training.simulation.keys import Ints, derive, tokens

OUTCOME_KINDS: tuple[str, ...] = get_args(OutcomeKind)
OUTCOME = {name: code for code, name in enumerate(OUTCOME_KINDS)}
VERDICTS = (None, "fraud", "genuine")
LEAF = {code: number for number, code in enumerate(LEAVES)}

ROW_SCHEMA: dict[str, pl.DataType] = {
    "order": pl.UInt64(),  # the key that its id is written from
    "time": pl.Int64(),
    "kind": pl.UInt8(),
    "leaf": pl.UInt8(),  # into LEAVES, 0 for none
    "text": pl.UInt16(),  # into TEXTS, 0 for none
    "verdict": pl.UInt8(),
}


def rows(
    orders: np.ndarray,
    times: Ints,
    kind: str,
    *,
    leaf: "Ints | int" = 0,
    text: "Ints | int" = 0,
    verdict: "Ints | int" = 0,
) -> pl.DataFrame:
    """Outcomes of one kind; whole numbers stand for all."""
    values = {"kind": OUTCOME[kind], "leaf": leaf, "text": text, "verdict": verdict}
    columns = [pl.Series("order", orders), pl.Series("time", times)]
    for name, value in values.items():
        full = np.broadcast_to(np.asarray(value, dtype=np.int64), len(orders))
        columns.append(pl.Series(name, full).cast(ROW_SCHEMA[name]))
    return pl.DataFrame(columns)


def together(frames: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """Outcome rows put together."""
    return pl.concat([*frames, pl.DataFrame(schema=ROW_SCHEMA)], how="vertical")


def written(pending: pl.DataFrame) -> pl.DataFrame:
    """Outcome rows as an outcomes table, sorted by event time."""
    pending = pending.sort("time", "order", "kind")
    times = pending["time"].to_numpy()
    key = derive(
        pending["order"].to_numpy(), "outcome", pending["kind"].to_numpy().astype(np.int64)
    )
    delay = 15 - 60 * np.log1p(-((key >> np.uint64(11)).astype(np.float64) * 2.0**-53))
    leaves = pl.Series([None, *LEAVES[1:]], dtype=pl.String)
    texts = pl.Series([None, *TEXTS[1:]], dtype=pl.String)
    return pl.DataFrame(
        {
            "order_id": tokens(pending["order"].to_numpy()),
            "kind": pl.Series(OUTCOME_KINDS).gather(pending["kind"]),
            "event_time": pl.Series(times).cast(TIME),
            "received_time": pl.Series(times + delay.astype(np.int64)).cast(TIME),
            "reason": leaves.gather(pending["leaf"]),
            "reason_text": texts.gather(pending["text"]),
            "verdict": pl.Series(VERDICTS, dtype=pl.String).gather(pending["verdict"]),
        },
        schema=OUTCOME_SCHEMA,
    )
