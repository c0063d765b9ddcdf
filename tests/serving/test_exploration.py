from typing import Any

import numpy as np
import pytest

from serving.exploration import Exploration
from tests.serving.policy_cases import final, order, prepared, rule

PEOPLE = 100_000
SHARE = 0.05
FREEZES = rule("freezes", points=130)


def exploring(**fields: Any) -> Exploration:
    return Exploration(**{"share": SHARE, "loss_cap": 20_000, **fields})


def by(*rules: Any, **fields: Any) -> Any:
    return prepared(*(rules or (FREEZES,)), exploration=exploring(**fields))


def test_assignment_is_a_stable_hash_of_the_order_id():
    some = [order(number) for number in range(5_000)]
    first = final(by(), some)
    assert final(by(), some[::-1]).explored[::-1] == first.explored
    assert [final(by(), [each]).explored[0] for each in some[:100]] == first.explored[:100]
    assert final(by(salt="another"), some).explored != first.explored
    more = final(by(share=0.1), some).explored
    assert all(wide for wide, narrow in zip(more, first.explored, strict=True) if narrow)


@pytest.mark.parametrize("share", [0.01, 0.05, 0.2])
def test_the_share_is_within_binomial_bounds(share: float):
    exploration = exploring(share=share)
    drawn = sum(exploration.draws(order(number)) for number in range(PEOPLE))
    four_sigma = 4 * np.sqrt(PEOPLE * share * (1 - share))
    assert abs(drawn - PEOPLE * share) < four_sigma


def test_weighting_by_propensity_undoes_the_selection():
    # Of the frozen orders only the explored show whether they were fraud; one in four was.
    orders = [order(number) for number in range(PEOPLE)]
    fraud = np.random.default_rng(1).random(PEOPLE) < 0.25
    said = final(by(), orders)
    explored, propensity = np.array(said.explored), np.array(said.propensity)
    assert set(propensity[explored]) == {SHARE}
    assert set(propensity[~explored]) == {1 - SHARE}
    estimate = (fraud[explored] / propensity[explored]).sum() / PEOPLE
    four_sigma = 4 * np.sqrt(0.25 * (1 - SHARE) / SHARE / PEOPLE)
    assert abs(estimate - fraud.mean()) < four_sigma
    # Horvitz and Thompson: the inverse propensities of either choice sum to the population.
    for chosen in (explored, ~explored):
        assert (1 / propensity[chosen]).sum() == pytest.approx(PEOPLE, rel=0.06)


@pytest.mark.parametrize(
    "fields",
    [
        {"category": "card_key"},
        {"category": "top_up"},
        {"category": None},
        {"unit_price": 20_001},
        {"quantity": 3},
    ],
)
def test_what_cannot_be_had_back_and_what_is_dear_is_never_explored(fields: dict):
    orders = [order(number, **fields) for number in range(2_000)]
    said = final(by(share=0.2), orders)
    assert not any(said.explored)
    assert set(said.propensity) == {1.0}


def test_card_keys_are_explored_where_that_is_set():
    orders = [order(number, category="card_key") for number in range(2_000)]
    assert any(final(by(irreversible=()), orders).explored)


@pytest.mark.parametrize(
    "rules",
    [
        [rule("hard", action="freeze")],
        [rule("hard", action="cancel")],
        [FREEZES, rule("firm", points=1, overridable=False)],
        [FREEZES, rule("hard", action="cancel")],
        [rule("soft", points=110)],
    ],
)
def test_only_what_points_alone_freeze_is_explored(rules: list):
    said = final(by(*rules, share=0.2), [order(number) for number in range(2_000)])
    assert not any(said.explored)
    assert set(said.propensity) == {1.0}


def test_who_is_explored_is_called():
    said = final(by(share=0.2), [order(number) for number in range(500)])
    assert {tier for tier, explored in zip(said.tier, said.explored, strict=True) if explored} == {
        2
    }
    assert {
        tier for tier, explored in zip(said.tier, said.explored, strict=True) if not explored
    } == {3}


def test_a_share_of_nothing_explores_nothing():
    assert not any(final(by(share=0), [order(number) for number in range(500)]).explored)
