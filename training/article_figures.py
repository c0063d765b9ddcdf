"""The figures that the articles on order cancellation report, beside those of a live day."""

from dataclasses import dataclass

from training.live_summary import Summary

FALSE_POSITIVE_RATE = 0.032
HUMAN_SHARE = 0.09
FOUND_S = 30.0
BURST = 12  # orders, within 3 seconds
PROMOTION = 5.0  # times the normal rate
ORDERS_A_DAY = 120_000


@dataclass(frozen=True, slots=True)
class Comparison:
    """One figure of theirs and ours.

    Attributes:
        name: Key of the words for what is compared, for their figure and for ours.
        ours: The numbers that the words for ours name; None: this day did not measure it.
        reached: None where ours is not the same measure.
    """

    name: str
    ours: dict[str, float | None] | None
    reached: bool | None


def compare(summary: Summary) -> list[Comparison]:
    """Their figures in the order of the articles; a figure the day lacks is not reached or unreached."""
    incidents, peak = summary.incidents, summary.peak
    scalper = next((a for a in summary.attacks if "scalp" in a.kind and a.incidents), None)
    burst = scalper.first_stop_order if scalper else None
    promotion = peak.times_normal is not None and peak.times_normal >= PROMOTION
    a_day = None if summary.orders_per_s is None else summary.orders_per_s * 86_400
    found = {"seconds": incidents.first_stop_s, "share": incidents.within_30_s}
    return [
        Comparison(
            "found",
            found if incidents.count else None,
            incidents.first_stop_s is not None and incidents.first_stop_s < FOUND_S
            if incidents.count
            else None,
        ),
        Comparison("handled", _measured(p99=summary.latency_ms.p99), None),
        Comparison(
            "false_positives",
            _measured(share=summary.false_positive_rate),
            _at_most(summary.false_positive_rate, FALSE_POSITIVE_RATE),
        ),
        Comparison(
            "human",
            _measured(share=summary.human_share),
            _at_most(summary.human_share, HUMAN_SHARE),
        ),
        Comparison("gift", _measured(share=summary.gift_pass_rate), None),
        Comparison(
            "burst",
            {"order": burst} if scalper else None,
            (burst is not None and burst <= BURST) if scalper else None,
        ),
        Comparison(
            "promotion",
            {
                "times": peak.times_normal,
                "share": peak.false_positive_rate,
                "p99": peak.latency_ms.p99,
            }
            if promotion
            else None,
            _at_most(peak.false_positive_rate, FALSE_POSITIVE_RATE) if promotion else None,
        ),
        Comparison(
            "volume", _measured(orders=a_day), None if a_day is None else a_day >= ORDERS_A_DAY
        ),
        Comparison("policy", None, None),
    ]


def _measured(**numbers: float | None) -> dict[str, float | None] | None:
    return None if None in numbers.values() else numbers


def _at_most(value: float | None, limit: float) -> bool | None:
    return None if value is None else value <= limit
