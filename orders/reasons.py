"""Why orders are cancelled: a taxonomy of four sides and their leaves, and the regulator.

A code is written `"<side>.<leaf>"`, as in `"risk.scalper"`. What is not in the taxonomy is
`unlabelled`: it is counted, never guessed.
"""

import re
from typing import Literal, NamedTuple, get_args

Side = Literal["user", "merchant", "platform", "risk", "regulatory", "unlabelled"]

UNLABELLED = "unlabelled"


class Reason(NamedTuple):
    """A leaf of the taxonomy, and what to call it."""

    code: str
    text: str
    text_zh: str
    words: tuple[str, ...] = ()  # found in free text, they mean this leaf

    @property
    def side(self) -> Side:
        """The side that the reason lies with."""
        return side_of(self.code)


# Where the words of two leaves occur in one text, the leaf that stands first here wins: what
# costs money when it is overlooked comes before what does not.
_REASONS = (
    Reason(
        "risk.payment_fraud",
        "Payment fraud",
        "支付欺诈",
        ("stolen card", "payment fraud", "card fraud", "fraud", "盗刷", "欺诈", "盗卡"),
    ),
    Reason(
        "risk.malicious_hold",
        "Malicious stock hold",
        "恶意占库存",
        ("stock hold", "hoarding stock", "占库存", "恶意下单", "恶意拍下"),
    ),
    Reason("risk.scalper", "Scalper", "黄牛", ("scalp", "reseller", "黄牛", "倒卖")),
    Reason("risk.bot_probe", "Bot probe", "机器试探", ("bot", "script", "脚本", "机器人", "刷单")),
    Reason(
        "risk.promo_abuse",
        "Promotion abuse",
        "薅羊毛",
        ("promo abuse", "promotion abuse", "coupon abuse", "羊毛", "套券"),
    ),
    Reason(
        "regulatory.order",
        "Order of an authority",
        "监管要求",
        ("court order", "regulator", "sanction", "监管", "合规", "法院"),
    ),
    Reason(
        "merchant.oversold",
        "Oversold",
        "超卖缺货",
        ("oversold", "out of stock", "no stock", "sold out", "超卖", "缺货", "无货", "库存不足"),
    ),
    Reason(
        "merchant.price_error",
        "Price error",
        "标错价格",
        ("price error", "wrong price", "mispriced", "价格错误", "标错价", "错价"),
    ),
    Reason(
        "merchant.unclear_description",
        "Unclear description",
        "描述不清",
        ("unclear description", "not as described", "misleading", "描述不", "与描述", "描述不清"),
    ),
    Reason(
        "merchant.slow_support",
        "Slow support",
        "客服响应慢",
        ("slow support", "no reply", "no answer", "客服不", "客服响应", "客服没"),
    ),
    Reason("merchant.delisted", "Delisted", "商品下架", ("delisted", "discontinued", "下架")),
    Reason(
        "platform.payment_fault",
        "Payment fault",
        "支付故障",
        ("payment fault", "payment error", "gateway", "支付故障", "支付失败", "支付异常"),
    ),
    Reason(
        "platform.status_out_of_sync",
        "Status out of sync",
        "状态不同步",
        ("out of sync", "wrong status", "不同步", "状态异常", "状态错误"),
    ),
    Reason(
        "platform.lost_order_data",
        "Lost order data",
        "订单数据丢失",
        ("lost order", "order data lost", "数据丢失", "订单丢失", "丢单"),
    ),
    Reason(
        "platform.dispute_process",
        "Dispute process",
        "纠纷处理",
        ("dispute", "纠纷", "仲裁", "维权"),
    ),
    Reason(
        "user.price_moved",
        "The price moved",
        "价格变动",
        ("price drop", "cheaper", "price moved", "降价", "更便宜", "价格变", "买贵"),
    ),
    Reason(
        "user.slow_delivery",
        "Slow delivery",
        "发货慢",
        ("slow delivery", "late delivery", "too slow", "not delivered", "发货慢", "未发货", "太慢"),
    ),
    Reason(
        "user.wrong_item",
        "Wrong item",
        "买错了",
        ("wrong item", "by mistake", "wrong size", "买错", "拍错", "选错", "填错"),
    ),
    Reason("user.distrust", "Distrust", "不信任", ("trust", "scam", "不信任", "不放心", "骗子")),
    Reason(
        "user.changed_mind",
        "Changed their mind",
        "不想要了",
        ("changed my mind", "changed mind", "no longer need", "不想要", "不想买", "不需要"),
    ),
    Reason(UNLABELLED, "Unlabelled", "未归类"),
)

REASONS: dict[str, Reason] = {reason.code: reason for reason in _REASONS}
"""Every leaf by its code, `unlabelled` last."""


def side_of(code: str | None) -> Side:
    """The side of a reason code; `unlabelled` for none, or one that is not in the taxonomy.

    >>> side_of("risk.scalper"), side_of("regulatory.order"), side_of("weather"), side_of(None)
    ('risk', 'regulatory', 'unlabelled', 'unlabelled')
    """
    if code is None or code not in REASONS:
        return UNLABELLED
    side = code.partition(".")[0]
    return next(known for known in get_args(Side) if known == side)


def _pattern(words: tuple[str, ...]) -> re.Pattern[str]:
    """English words match as words, with their common endings; Chinese has no spaces."""
    forms = (
        rf"\b{word}(?:s|ers?|ed|ing)?\b" if word.isascii() else re.escape(word) for word in words
    )
    return re.compile("|".join(forms), re.IGNORECASE)


_PATTERNS = {reason.code: _pattern(reason.words) for reason in _REASONS if reason.words}


def reason_of_text(text: str | None) -> str:
    """The code whose words occur in a free-text reason, in English or Chinese.

    >>> reason_of_text("Customer found it CHEAPER elsewhere"), reason_of_text("拍错了，重新下单")
    ('user.price_moved', 'user.wrong_item')
    >>> reason_of_text("both subscriptions")
    'unlabelled'
    """
    found = (code for code, pattern in _PATTERNS.items() if pattern.search(text or ""))
    return next(found, UNLABELLED)
