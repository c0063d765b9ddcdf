"""JSON Schemas of every topic: `python -m preempt.schemas docs/schema` writes them."""

import sys
from pathlib import Path

from orders.events import Order, Outcome
from orders.schema import write_schemas
from serving.alerts import Alert
from serving.decisions import Decision
from streams.answers import DeadLetter

MESSAGES = (Order, Outcome, Decision, DeadLetter, Alert)

if __name__ == "__main__":
    write_schemas(Path(sys.argv[1]), MESSAGES)
