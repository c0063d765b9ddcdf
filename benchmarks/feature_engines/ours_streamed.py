"""Our engine in our own transport, from topic to topic, for those that cannot do without one.

python -m benchmarks.feature_engines.ours_streamed BROKER FOLDER    # the worker
"""

import sys

import numpy as np

from benchmarks.feature_engines.contest import Contest, Run, subset
from benchmarks.feature_engines.on_broker import (
    ANSWERS,
    SOURCE,
    Answer,
    project_on_path,
    python_module,
    run_worker,
)
from features.columns import event_columns_from_orders
from features.memory import InMemoryState
from orders.decoding import decode_orders
from orders.events import encoder
from streams.chunks import take_chunks
from streams.producer import BatchProducer
from streams.worker import ChunkedApp, chunk_topic, transport_app
from streams.worker import run_worker as run_app


def run(contest: Contest) -> Run:
    """One worker on a backlog."""
    events = ((o.order_id, int(o.event_time), encoder.encode(o)) for o in contest.orders)
    command = python_module("benchmarks.feature_engines.ours_streamed")
    return run_worker("ours-streamed", command, events, contest, project_on_path())


def streamed_app(bootstrap: str) -> ChunkedApp:
    """The app; its agent answers all orders that wait at once."""
    app = transport_app("ours-streamed", bootstrap)
    producer = BatchProducer(bootstrap)
    declared = subset()
    state = InMemoryState(declared)

    @app.agent(chunk_topic(app, SOURCE), name="compute")
    async def compute(stream) -> None:
        async for batch in take_chunks(stream):
            orders = decode_orders([record.value or b"" for record in batch.records()]).events
            vectors = state.apply(event_columns_from_orders(orders, declared))
            for order, vector, present in zip(
                orders, vectors.tolist(), (~np.isnan(vectors)).tolist(), strict=True
            ):
                values = {
                    name: value if known else None
                    for name, value, known in zip(declared.names, vector, present, strict=True)
                }
                answer = encoder.encode(Answer(order.order_id, values))
                producer.produce(ANSWERS, answer, key=order.order_id.encode())
            await producer.flush()
            batch.ack()

    return app


if __name__ == "__main__":
    sys.exit(run_app(streamed_app(sys.argv[1])))
