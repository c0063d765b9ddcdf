import io
from itertools import pairwise
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

from preempt.closing_summary import render_summary
from preempt.live_snapshot import LiveSnapshot, OrderFacts, RollingView, order_facts
from preempt.live_view import LiveView, SnapshotView, plain_line, printable
from preempt.terminal_picture import save_picture
from serving.decisions import Decision, Reason
from tests.training.made_live_day import busy_day, live_day, order
from training.live_day import summarise

NOW = 1_767_225_600_000
HOSTILE = "[red]x[/nope] \x1b[2J\u202e\n[link=file:///]y"


def decision(order_id: str = "o-1", tier: str = "pass", reason: str = "Device burst") -> Decision:
    actions = {"pass": "accept", "sms": "verify_sms", "call": "verify_call"}
    return Decision(
        order_id=order_id,
        event_time=NOW - 60_000,
        decided_time=NOW,
        features=[],
        feature_hash="",
        probability=0.5,
        rule_points=50.0,
        model_points=80.0,
        points=130.0,
        tier=tier,  # pyright: ignore[reportArgumentType]  # the test names its tiers
        action=actions.get(tier, tier),  # pyright: ignore[reportArgumentType]
        reasons=[Reason(code="rule:x", points=50.0, text=reason, text_zh="")],
        fast_lane=False,
        model=None,
        rules="r1",
    )


def shown(renderable: RenderableType, width: int, height: int = 24) -> str:
    screen = Console(
        file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None
    )
    screen.print(renderable)
    return screen.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]


def busy_snapshot(frozen: int = 30) -> LiveSnapshot:
    view = RollingView(total=1_000, facts={"o-3": OrderFacts("acc-1", 123_456, "CNY")})
    tiers = ["pass"] * 60 + ["sms", "call"] + ["freeze"] * frozen
    view.add((decision(f"o-{i}", tier), NOW - 1_000, NOW - 990 + i) for i, tier in enumerate(tiers))
    return view.snapshot(now_ms=NOW, sent=200, dead_letters=2)


def test_rates_and_latencies_are_of_the_last_seconds_only():
    view = RollingView(total=10, window_s=5)
    view.add([(decision("old"), NOW - 9_000, NOW - 5_000)])
    view.add([(decision(f"o{i}"), NOW - 1_000, NOW - 1_000 + ms) for i, ms in enumerate((10, 30))])
    snapshot = view.snapshot(now_ms=NOW, sent=4, dead_letters=1)
    assert snapshot.decided == 3
    assert snapshot.orders_per_s == 2 / 5
    assert snapshot.p50_ms == 20
    assert snapshot.waiting == 0
    assert snapshot.clock == NOW - 60_000


def test_what_came_is_forgotten_but_not_uncounted():
    view = RollingView(total=10)
    view.add([(decision(), NOW - 10, NOW)])
    view.snapshot(now_ms=NOW, sent=1)
    later = view.snapshot(now_ms=NOW + 600_000, sent=1)
    assert (later.decided, later.tiers["pass"]) == (1, 1)
    assert (later.orders_per_s, later.p50_ms, later.p99_ms) == (0, None, None)
    assert set(later.rates) == {0}


def test_there_is_one_rate_for_each_of_the_last_sixty_seconds():
    view = RollingView(total=10)
    view.add([(decision(), NOW - 1_500, NOW - 1_000), (decision(), NOW, NOW - 60_000)])
    rates = view.snapshot(now_ms=NOW, sent=2).rates
    assert len(rates) == 60
    assert (rates[0], rates[-1], sum(rates)) == (1, 1, 2)


def test_the_newest_frozen_orders_are_kept_newest_first():
    view = RollingView(total=99, keep=3)
    view.add((decision(f"o-{i}", "freeze"), NOW, NOW) for i in range(9))
    frozen = view.snapshot(now_ms=NOW, sent=9).frozen
    assert [each.order_id for each in frozen] == ["o-8", "o-7", "o-6"]
    assert frozen[0].reason == "Device burst"


def test_facts_of_orders_come_from_the_orders_table():
    live = live_day([order("o-1", account=None, quantity=3, unit_price=250)], [], [])
    assert order_facts(live.orders) == {"o-1": OrderFacts(None, 750, "CNY")}


@pytest.mark.parametrize("width", [80, 100, 120, 200])
@pytest.mark.parametrize("height", [24, 40])
def test_the_view_fits_the_terminal(width: int, height: int):
    lines = shown(SnapshotView(busy_snapshot()), width, height).splitlines()
    assert len(lines) < height
    assert max(len(line) for line in lines) <= width
    text = "\n".join(lines)
    for word in ("freeze", "o-91", "Device burst", "94 of 1,000 orders", "130"):
        assert word in text


def test_the_view_keeps_its_height_while_it_fills():
    heights = [
        len(shown(SnapshotView(busy_snapshot(frozen)), 80).splitlines()) for frozen in (0, 2, 30)
    ]
    assert all(a == b for a, b in pairwise(heights))


def test_before_the_first_decision_there_is_a_view_too():
    nothing = RollingView(total=0).snapshot(now_ms=NOW, sent=0)
    assert "--:--:--" in shown(SnapshotView(nothing), 80)
    assert "no decisions" in plain_line(nothing)


def test_text_from_orders_is_shown_as_it_is_and_controls_nothing():
    view = RollingView(total=1, facts={HOSTILE: OrderFacts(HOSTILE, 1, HOSTILE)})
    view.add([(decision(HOSTILE, "freeze", HOSTILE), NOW, NOW)])
    text = shown(SnapshotView(view.snapshot(now_ms=NOW, sent=1)), 200)
    assert "[red]x[/nope]" in text
    for forbidden in ("\x1b", "\u202e", "]8;"):
        assert forbidden not in text


def test_printable_text_is_cut_with_an_ellipsis():
    assert printable("a\tb\x1b[0m", 80) == "a·b·[0m"
    assert printable("x" * 100, 10) == "x" * 9 + "…"
    assert printable("虚拟手机号") == "虚拟手机号"


def test_without_a_terminal_there_is_a_plain_line_every_few_seconds():
    out = io.StringIO()
    with LiveView(Console(file=out, width=80), every_s=5) as view:
        for second in range(12):
            view.show(busy_snapshot(), now_s=100.0 + second)
    lines = out.getvalue().splitlines()
    assert len(lines) == 3
    assert lines[0] == plain_line(busy_snapshot())
    assert "92/1,000 orders" in lines[0]
    assert "\x1b" not in out.getvalue()


def test_on_a_terminal_the_view_is_drawn_in_place():
    out = io.StringIO()
    terminal = Console(file=out, width=80, height=24, force_terminal=True)
    with LiveView(terminal) as view:
        view.show(busy_snapshot(1), now_s=0.0)
        view.show(busy_snapshot(2), now_s=0.1)
    assert "\x1b[1A" in out.getvalue()  # the cursor goes up again
    assert out.getvalue().count("Newest frozen orders") == 3  # two, and the last when it ends


def test_a_picture_needs_no_network(tmp_path: Path):
    path = tmp_path / "live.svg"
    save_picture(SnapshotView(busy_snapshot()), path, width=100)
    svg = path.read_text("utf-8")
    assert svg.startswith("<svg")
    assert "url(&quot;http" not in svg
    assert 'url("http' not in svg
    assert "@font-face" not in svg
    assert "freeze" in svg


def test_the_closing_summary_fits_eighty_columns_without_a_terminal():
    out = io.StringIO()
    summary = summarise(busy_day(1_000))
    Console(file=out, width=80).print(render_summary(summary))
    text = out.getvalue()
    assert "…" not in text
    assert "\x1b" not in text
    assert f"{summary.orders:,}" in text
    for attack in summary.attacks:
        assert attack.kind.replace("_", " ") in text


def test_the_closing_summary_of_an_empty_day_claims_nothing():
    text = shown(render_summary(summarise(live_day([], [], []))), 80)
    assert "No attack is known" in text
    assert "nan" not in text.lower()
    assert "None" not in text
