"""What a user would otherwise write: a Faust agent that takes one order at a time.

The same scorer and the same answers as our worker, on Faust's own transport and producer, as its
documentation shows it. Only `preempt bench stream` runs it, for comparison.
"""

from typing import Any

import faust

from orders.decoding import decode_orders
from preempt.bootstrap import build_scorer, prepare_topics, wall_clock
from preempt.settings import Settings, load_settings
from serving.decisions import decision_encoder
from streams.answers import SOURCE_HEADER, Source


def per_message_app(settings: Settings) -> faust.App:
    """An app whose agent decides order by order and awaits each send."""
    topics = prepare_topics(settings)
    scorer = build_scorer(settings, None)
    app = faust.App(
        f"{settings.topic_prefix}per-message",
        broker=f"kafka://{settings.broker}",
        consumer_auto_offset_reset="earliest",
        value_serializer="raw",
        key_serializer="raw",
        topic_disable_leader=True,
        web_enabled=False,
        broker_session_timeout=10,
        broker_heartbeat_interval=1,
        broker_rebalance_timeout=3,
        datadir=str(settings.data_dir / "per-message-faust"),
    )
    orders = app.topic(topics.orders, value_type=bytes)
    decisions = app.topic(topics.decisions, value_type=bytes)

    @app.agent(orders, name="score")
    async def score(stream: Any) -> None:
        async for event in stream.events():
            message = event.message
            order = decode_orders([event.value]).events[0]
            [decision] = scorer.decide([order], now=wall_clock())
            appended = round(message.timestamp * 1000)
            await decisions.send(
                key=order.order_id.encode(),
                value=decision_encoder.encode(decision),
                partition=message.partition,
                headers={
                    SOURCE_HEADER: Source(message.partition, message.offset, appended).header()
                },
            )

    return app


if __name__ == "__main__":
    faust.Worker(per_message_app(load_settings()), loglevel="WARNING").execute_from_commandline()
