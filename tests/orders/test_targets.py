from datetime import timedelta
from pathlib import Path
from typing import get_args

import pytest

from orders.dataset import dataset_targets
from orders.errors import UserError
from orders.events import OutcomeKind
from orders.reasons import REASONS, Side, reason_of_text, side_of
from orders.targets import TARGETS


def test_every_leaf_lies_on_its_side_and_has_a_name_in_both_languages() -> None:
    for code, reason in REASONS.items():
        assert reason.side == side_of(code) == code.partition(".")[0]
        assert reason.text
        assert reason.text_zh
    assert {reason.side for reason in REASONS.values()} == set(get_args(Side))


def test_each_leaf_is_found_by_each_of_its_own_words() -> None:
    for code, reason in REASONS.items():
        for word in reason.words:
            assert reason_of_text(f"… {word.upper()} …") == code, word


def test_what_is_not_in_the_taxonomy_is_unlabelled() -> None:
    assert side_of("user.bored") == side_of("risk") == side_of("") == "unlabelled"
    assert reason_of_text(None) == reason_of_text("whatever") == "unlabelled"


def test_targets_name_known_outcomes_and_sides() -> None:
    for name, target in TARGETS.items():
        assert target.name == name
        for evidence in (*target.ones, *target.zeros, *target.overrules_to_one):
            assert evidence.kind in get_args(OutcomeKind)
            assert (evidence.sides or frozenset()) <= set(get_args(Side))


def test_no_outcome_speaks_for_both_labels() -> None:
    for target in TARGETS.values():
        assert not set(target.ones) & set(target.zeros)
        assert not set(target.overrules_to_one) & set(target.overrules_to_zero)


def test_a_data_set_may_have_another_maturity(tmp_path: Path) -> None:
    assert dataset_targets(tmp_path) == TARGETS
    settings = tmp_path / "dataset.json"
    settings.write_text(
        '{"targets": {"cancel": {"maturity_days": null}, "risk": {"maturity_days": 1.5}}}'
    )
    targets = dataset_targets(tmp_path)
    assert targets["cancel"].maturity is None
    assert targets["risk"].maturity == timedelta(hours=36)
    settings.write_text('{"targets": {"risk": {}}}')
    assert dataset_targets(tmp_path) == TARGETS


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"targets": {"love": {}}}', "no target 'love', there are: risk, cancel"),
        ('{"targets": {"risk": {"maturity_days": -1}}}', "expected 0 or more"),
        ('{"targets": {"risk": {"days": 1}}}', "unknown field `days`"),
        ("{", "dataset.json"),
    ],
)
def test_settings_that_make_no_sense_are_refused(
    tmp_path: Path, content: str, message: str
) -> None:
    (tmp_path / "dataset.json").write_text(content)
    with pytest.raises(UserError, match=message):
        dataset_targets(tmp_path)
