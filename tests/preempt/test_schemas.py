"""The committed schemas are what the types give."""

from pathlib import Path

from orders.schema import write_schemas
from preempt.schemas import MESSAGES

COMMITTED = Path(__file__).parents[2] / "docs" / "schema"


def test_the_schema_of_every_topic_is_committed(tmp_path: Path) -> None:
    for file in write_schemas(tmp_path, MESSAGES):
        assert (COMMITTED / file.name).read_text() == file.read_text(), (
            "run: .venv/bin/python -m preempt.schemas docs/schema"
        )
