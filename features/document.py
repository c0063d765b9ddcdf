"""The table of features in the documentation, written from the declarations.

    python -m features.document docs/features.md

replaces what stands between the two marks in that file.
"""

import sys
from pathlib import Path

from features.declare import Feature
from features.feature_set import FeatureSet, feature_set

BEGIN, END = "<!-- features: begin -->", "<!-- features: end -->"


def listing(declared: FeatureSet) -> list[dict[str, object]]:
    """What `preempt features list --json` prints: one object a feature, in column order."""
    return [
        {
            "name": feature.name,
            "entity": feature.entity,
            "aggregate": feature.aggregate,
            "of": _of(feature),
            "window_s": feature.window_s,
            "dtype": feature.dtype,
            "unit": feature.unit,
            "description": feature.description,
        }
        for feature in declared.features
    ]


def table(declared: FeatureSet) -> str:
    """The features as a Markdown table."""
    lines = [
        f"{len(declared.features)} features, feature-set hash `{declared.hash}`.",
        "",
        "| name | of | aggregate | window | unit | when empty | what it is |",
        "|---|---|---|---|---|---|---|",
    ]
    for f in declared.features:
        window = _window(f)
        of = " of ".join(part for part in (_of(f), f.entity) if part) or "order"
        empty = "" if f.entity is None else f"{f.default:g}"
        cells = [f"`{f.name}`", of.replace("|", " or "), f.aggregate.replace("_", " "), window]
        lines.append(f"| {' | '.join([*cells, f.unit, empty, f.description])} |")
    return "\n".join(lines)


def documented(text: str, declared: FeatureSet) -> str:
    """The text with the table between the marks."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{table(declared)}\n\n{END}{after}"


def _of(feature: Feature) -> str | None:
    if feature.aggregate == "order":
        return None
    if feature.events == "orders":
        return feature.of or "orders"
    return f"{feature.of} on {feature.events}" if feature.of else feature.events


def _window(feature: Feature) -> str:
    seconds = feature.window_s
    if seconds is None:
        return ""
    for size, letter in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds % size == 0:
            return f"{seconds // size} {letter}"
    return f"{seconds} s"


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(documented(path.read_text(encoding="utf-8"), feature_set()), encoding="utf-8")
