"""The tables of rule sets and of what happened to them; rows are only ever added."""

import msgspec
from sqlalchemy import BigInteger, Column, Float, ForeignKey, Integer, MetaData, String, Table, Text

TABLES = MetaData()
RULE_SETS = Table(
    "rule_sets",
    TABLES,
    Column("version", String(64), primary_key=True),
    Column("content", Text, nullable=False),
    Column("author", String(200), nullable=False),
    Column("comment", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),  # UTC milliseconds
)
RULE_EVENTS = Table(
    "rule_events",
    TABLES,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("version", String(64), ForeignKey("rule_sets.version"), nullable=False),
    Column("kind", String(32), nullable=False),
    Column("by", String(200), nullable=False),
    Column("at", BigInteger, nullable=False),  # UTC milliseconds
    Column("comment", Text, nullable=False),
    Column("against", String(64), ForeignKey("rule_sets.version")),
    Column("changed_share", Float),
    Column("result", Text),  # of a backtest, JSON
)


class RuleSet(msgspec.Struct, frozen=True, kw_only=True):
    """One version of the rules, as it was drafted."""

    version: str  # of the policy that the content stands for
    content: str  # TOML, exactly as given
    author: str
    comment: str
    created_at: int  # UTC milliseconds
