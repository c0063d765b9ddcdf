import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from training.charts import Scale, bars, dots, from_zero, line, steps

finite = st.floats(0, 1e12, allow_nan=False, allow_subnormal=False)


@given(st.lists(finite, min_size=1, max_size=20))
def test_a_scale_from_zero_holds_every_value(values: list[float]):
    scale = from_zero(np.array(values))
    assert scale.low == 0.0
    assert scale.high >= max(values) * (1 - 1e-9)
    units = scale.units(values)
    assert ((units >= 0) & (units <= 1000)).all()


@given(finite.filter(lambda high: high > 1e-6))
def test_ticks_are_a_handful_of_rising_values_on_the_scale(high: float):
    ticks = from_zero(np.array([high])).ticks(lambda value: f"{value:.6g}")
    places = [tick.at for tick in ticks]
    assert 2 <= len(ticks) <= 8
    assert places == sorted(set(places))
    assert places[0] == 0
    assert places[-1] <= 100


def test_an_empty_chart_has_a_scale():
    assert from_zero(np.array([])).ticks(str)[0].at == 0
    assert from_zero(np.array([np.nan])).high > 0


def test_a_logarithmic_scale_puts_equal_factors_at_equal_distances():
    scale = Scale(1, 1000, log=True)
    np.testing.assert_allclose(scale.units([0, 1, 10, 100, 1000]), [0, 0, 1000 / 3, 2000 / 3, 1000])
    assert [tick.label for tick in scale.ticks(lambda value: f"{value:g}")] == [
        "1",
        "10",
        "100",
        "1000",
    ]


def test_a_line_is_broken_where_a_value_is_missing():
    x, y = np.array([0.0, 100, 200, 300]), np.array([0.0, np.nan, 500, 1000])
    assert line(x, y) == "M0 1000M200 500L300 0"


def test_a_histogram_is_one_closed_silhouette():
    path = steps(np.array([0.0, 500, 1000]), np.array([0.0, 0]), np.array([100.0, 250.5]))
    assert path == "M0 1000V900H500V749.5H1000V1000H500V1000H0Z"


def test_nothing_to_draw_is_an_empty_path():
    nothing = np.array([])
    assert line(nothing, nothing) == ""
    assert dots(nothing, nothing) == ""
    assert bars(nothing, nothing, nothing) == ""
