"""One of several processes that order on the same device at the same moment.

Takes the URL of a Redis, a key prefix, its name and how many orders; prints how many orders of
the device it saw before each of its own.
"""

import json
import sys

import redis

from features.columns import event_columns_from_orders
from features.feature_set import feature_set
from features.redis_state import RedisState
from orders.events import Instant, Order

START = 1_740_000_000_000


def main(url: str, prefix: str, name: str, count: str) -> None:
    features = feature_set()
    column = features.names.index("device_orders_24h")
    seen = []
    with redis.Redis.from_url(url) as client:
        state = RedisState(client, features, prefix=prefix)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.readline()
        for i in range(int(count)):
            order = Order(
                order_id=f"{name}{i}",
                event_time=Instant(START),
                device="d",
                account=name,
                quantity=1,
                unit_price=1,
                currency="CNY",
            )
            seen.append(int(state.apply(event_columns_from_orders([order], features))[0, column]))
    sys.stdout.write(json.dumps(seen))


if __name__ == "__main__":
    main(*sys.argv[1:])
