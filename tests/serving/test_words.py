import re

import pytest

from features.declare import Feature
from features.definitions import FEATURES
from features.feature_set import feature_set
from serving.words import words


@pytest.mark.parametrize("feature", FEATURES, ids=lambda feature: feature.name)
def test_every_feature_has_words_in_both_languages(feature: Feature):
    value = "own" if feature.dtype == "string" else 1.0
    english, chinese = words(feature, value)
    name, _, shown = chinese.rpartition("：")
    assert re.search(r"[\u4e00-\u9fff]", name)
    assert not re.search(r"[a-z_]", name.replace("IPv6", ""))
    assert shown
    assert ":" in english
    assert "Catches" not in english


def test_no_two_features_have_the_same_words():
    for language in (0, 1):
        said = [words(feature, 1.0)[language] for feature in FEATURES]
        assert sorted({text for text in said if said.count(text) > 1}) == []


def test_numbers_times_and_flags_read_as_people_write_them():
    by_name = {feature.name: feature for feature in FEATURES}
    assert words(by_name["account_age_s"], 7200.0)[1] == "账号注册至今：2小时"
    assert words(by_name["account_seconds_since_last"], 0.25)[0].endswith(": 0.25 s")
    assert words(by_name["virtual_phone"], 1.0)[1] == "虚拟运营商手机号：是"
    assert words(by_name["channel"], "douyin")[1] == "下单渠道：douyin"
    assert words(by_name["device_orders_5m"], float("nan"))[1] == "该设备近5分钟订单数：未知"


def test_a_shops_own_attribute_is_called_by_its_name():
    (own,) = (f for f in feature_set({"lead_time": "numeric"}).features if "lead" in f.name)
    assert words(own, 3.5)[1] == "商家自有字段 lead_time：3.5"
