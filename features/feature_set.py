"""A feature set: the declared features, and one feature for each of the shop's own attributes."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import polars as pl

from features.declare import Feature
from features.definitions import FEATURES

ATTRIBUTE_PREFIX = "attribute_"
"""The feature of a shop's attribute x is called attribute_x."""

AttributeKind = Literal["numeric", "categorical"]

# Part of every hash: raise it when the meaning of a declaration changes.
SEMANTICS = 2


class FeatureSetMismatchError(ValueError):
    """A vector, model or snapshot was made with another feature set."""


@dataclass(frozen=True)
class FeatureSet:
    """Features in the order of their columns."""

    features: tuple[Feature, ...]
    attributes: Mapping[str, AttributeKind]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Column names, in order."""
        return tuple(feature.name for feature in self.features)

    @cached_property
    def categorical(self) -> frozenset[str]:
        """Names of the features that hold text: a hash in a vector, the text in a frame."""
        return frozenset(f.name for f in self.features if f.dtype == "string")

    @cached_property
    def order_features(self) -> tuple[Feature, ...]:
        """The features of the order itself, in column order."""
        return tuple(f for f in self.features if f.aggregate == "order")

    @cached_property
    def hash(self) -> str:
        """32 hex digits of what is computed: not of descriptions, units or the running code."""
        declared = [
            [f.name, f.entity, f.aggregate, f.of, f.window_s, f.events, f.dtype, _number(f.default)]
            for f in self.features
        ]
        text = json.dumps([SEMANTICS, declared], separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]


def feature_set(
    attributes: Mapping[str, AttributeKind] | None = None,
    features: tuple[Feature, ...] = FEATURES,
) -> FeatureSet:
    """The declared features plus `attribute_x` for every attribute x, sorted by name.

    >>> feature_set({"lead_time": "numeric"}).names[-1]
    'attribute_lead_time'
    """
    own = tuple(
        Feature(
            name=f"{ATTRIBUTE_PREFIX}{name}",
            entity=None,
            aggregate="order",
            of=f"attribute:{name}",
            window_s=None,
            dtype="string" if kind == "categorical" else "float64",
            unit="text" if kind == "categorical" else "number",
            description=f"The shop's own attribute {name}.",
        )
        for name, kind in sorted((attributes or {}).items())
    )
    combined = features + own
    names = [feature.name for feature in combined]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"two features share a name: {', '.join(twice)}")
    return FeatureSet(combined, dict(sorted((attributes or {}).items())))


def attributes_of(schema: Mapping[str, pl.DataType]) -> dict[str, AttributeKind]:
    """The attributes of a table of orders: text is categorical, numbers and yes/no numeric."""
    struct = schema.get("attributes")
    if not isinstance(struct, pl.Struct):
        return {}
    return {
        field.name: "categorical" if field.dtype == pl.String else "numeric"
        for field in struct.fields
    }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
