import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from orders.decision_table import DECISION_SCHEMA
from serving.decisions import (
    Decision,
    Reason,
    decision_decoder,
    decision_encoder,
    feature_rows,
)


def decision_with(features: list[float | None]) -> Decision:
    reason = Reason(code="rule:virtual_phone", points=40.0, text="Virtual phone", text_zh="虚拟号")
    return Decision(
        order_id="o-1",
        event_time=1_700_000_000_000,
        decided_time=1_700_000_000_050,
        features=features,
        feature_hash="abc",
        probability=None,
        rule_points=40.0,
        model_points=0.0,
        points=40.0,
        tier="pass",
        action="accept",
        reasons=[reason],
        fast_lane=False,
        model=None,
        rules="0123456789ab",
    )


numbers = st.floats(allow_infinity=False, allow_nan=True)


@settings(deadline=None, max_examples=30)  # the machine may be busy
@given(st.lists(numbers, min_size=3, max_size=3))
def test_a_decision_comes_back_from_the_wire_as_it_was(row: list[float]):
    (features,) = feature_rows(np.array([row]))
    decision = decision_with(features)
    again = decision_decoder.decode(decision_encoder.encode(decision))
    assert again == decision
    assert decision_encoder.encode(again) == decision_encoder.encode(decision)


@settings(deadline=None, max_examples=30)  # the machine may be busy
@given(st.lists(st.lists(numbers, min_size=2, max_size=2), min_size=1, max_size=4))
def test_the_served_matrix_comes_back_bit_by_bit(rows: list[list[float]]):
    matrix = np.array(rows)
    served = np.array(feature_rows(matrix), dtype=np.float64)
    np.testing.assert_array_equal(served, matrix)


def test_an_unknown_feature_is_null_on_the_wire_never_zero():
    (features,) = feature_rows(np.array([[np.nan, 0.0]]))
    assert b'"features":[null,0.0]' in decision_encoder.encode(decision_with(features))


def test_a_field_of_a_newer_sender_is_ignored():
    wire = decision_encoder.encode(decision_with([1.0]))
    newer = wire[:-1] + b',"colour":"red"}'
    assert decision_decoder.decode(newer) == decision_with([1.0])


def test_the_table_of_decisions_has_the_fields_of_a_decision_in_their_order():
    assert tuple(DECISION_SCHEMA) == tuple(
        name
        for name in Decision.__struct_fields__
        # features have a column each; the words for a customer follow from the action
        if name not in ("schema", "version", "features", "customer")
    )
