"""How people write why an order was cancelled: in Chinese and English, well and badly."""

import numpy as np

from orders.reasons import UNLABELLED
from training.simulation.keys import Ints

_WORDS: dict[str, tuple[str, ...]] = {
    "user.changed_mind": ("不想要了", "暂时不需要", "changed my mind", "no longer need it"),
    "user.wrong_item": ("拍错了，重新下单", "面值选错", "ordered by mistake", "wrong size"),
    "user.price_moved": (
        "别家更便宜",
        "刚买就降价",
        "found it cheaper",
        "price drop after I ordered",
    ),
    "user.slow_delivery": ("一直未发货", "发货太慢", "too slow", "card still not delivered"),
    "user.distrust": ("不放心，怕卡密失效", "don't trust this shop", "looks like a scam"),
    "merchant.unclear_description": ("与描述不符", "适用范围描述不清", "not as described"),
    "merchant.oversold": ("超卖，无货可发", "库存不足", "oversold", "out of stock"),
    "merchant.slow_support": ("客服不回消息", "no reply from support"),
    "merchant.price_error": ("商家标错价", "价格错误", "price error", "mispriced item"),
    "merchant.delisted": ("商品已下架", "item delisted"),
    "platform.status_out_of_sync": ("付款了还显示待处理，状态不同步", "status out of sync"),
    "platform.payment_fault": ("支付异常", "支付失败但扣款", "payment gateway down"),
    "platform.lost_order_data": ("订单数据丢失", "order data lost"),
    "platform.dispute_process": ("纠纷处理中", "dispute decided"),
    "risk.payment_fraud": ("疑似盗刷", "stolen card suspected"),
    "risk.malicious_hold": ("恶意占库存", "stock hold, never paid"),
    "risk.scalper": ("黄牛批量下单", "scalper script"),
    "risk.bot_probe": ("脚本下单，疑似刷单", "bot traffic"),
    "risk.promo_abuse": ("薅羊毛，批量新号套券", "coupon abuse, many new accounts"),
    "regulatory.order": ("按监管要求下架", "regulator asked for it"),
}
_MEANINGLESS = ("1", "其他", "......", "asdf", "取消", "cancel pls")

LEAVES: tuple[str, ...] = ("", *_WORDS, UNLABELLED)
"""Reason codes by number; 0 is none."""

TEXTS: tuple[str, ...] = ("", *(text for texts in _WORDS.values() for text in texts), *_MEANINGLESS)
"""Texts by number; 0 is none."""

_COUNT = np.array([0, *(len(texts) for texts in _WORDS.values()), len(_MEANINGLESS)])
_FIRST = np.concatenate([[0], 1 + np.cumsum(_COUNT)[:-1]])


def as_recorded(rng: np.random.Generator, leaf: Ints) -> tuple[Ints, Ints]:
    """The reason and the text that are kept of a true reason: (leaf, text), 0 for none.

    Most are labelled, two in five have a text; one in twelve has only a text, and one in twenty
    has no more than `unlabelled`.
    """
    n = len(leaf)
    u = rng.random(n)
    meaningless = LEAVES.index(UNLABELLED)
    unlabelled = u < 0.05
    only_text = (u >= 0.05) & (u < 0.13)
    with_text = only_text | (unlabelled & (u < 0.025)) | (rng.random(n) < 0.4)
    said = np.where(unlabelled, meaningless, leaf)
    text = _FIRST[said] + (rng.random(n) * _COUNT[said]).astype(np.int64)
    return np.where(only_text, 0, said), np.where(with_text, text, 0)
