import re
from typing import get_args

import pytest

from features.feature_set import feature_set
from serving.customer_words import CUSTOMER_WORDS
from serving.decisions import Action
from serving.policy import Policy

TECHNIQUE = re.compile(
    r"rule|model|score|point|risk|fraud|threshold|probab|device|address|virtual|burst|list|IP\b|suspic|"
    r"规则|模型|分数|评分|风险|风控|欺诈|阈值|概率|设备|地址|虚拟|频繁|名单|可疑",
    re.I,
)


def test_every_action_has_words_in_both_languages():
    assert CUSTOMER_WORDS.keys() == set(get_args(Action))
    assert len({words.code for words in CUSTOMER_WORDS.values()}) == len(CUSTOMER_WORDS)


@pytest.mark.parametrize("action", get_args(Action))
def test_a_customer_reads_no_rule_feature_threshold_or_number(action: Action):
    words = CUSTOMER_WORDS[action]
    named = {rule.name for rule in Policy.default().rules} | set(feature_set().names)
    for text in (words.code, words.text, words.text_zh):
        assert text
        assert not re.search(r"\d", text)
        assert not TECHNIQUE.search(text)
        assert not named & set(re.findall(r"\w+", text.lower()))
    for rule in Policy.default().rules:
        assert rule.title not in words.text
        assert rule.title_zh not in words.text_zh
