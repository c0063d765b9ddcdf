"""What a feature and its value are called, in English and Chinese, from its declaration."""

import math

from features.declare import Feature
from features.feature_set import ATTRIBUTE_PREFIX

_ENTITY_ZH = {
    "account": "账号",
    "device": "设备",
    "ip": "IP",
    "ip_prefix": "IP段",
    "address": "收货地址",
    "phone": "手机号",
    "recipient": "收件人",
    "payment": "支付工具",
    "merchant": "商家",
    "sku": "商品",
}
_WINDOW_ZH = {
    60: "近1分钟",
    300: "近5分钟",
    3_600: "近1小时",
    86_400: "近24小时",
    604_800: "近7天",
    2_592_000: "近30天",
}
_OUTCOME_ZH = {
    "expired": "超时未付",
    "payment_failed": "支付失败",
    "verification_failed": "验证未通过",
    "cancelled_risk": "风险取消",
    "cancelled_other": "其他取消",
    "charged_back": "拒付",
    "reviewed_fraud": "审核判为欺诈",
    "completed": "已完成",
}
_MEASURE_ZH = {"amount": "金额", "quantity": "件数", "unit_price": "单价"}
_ORDER_ZH = {
    "amount": "订单金额",
    "quantity": "购买件数",
    "price_to_list": "成交价与标价之比",
    "hour_of_day": "下单小时（UTC）",
    "hour_of_week": "下单在一周中的小时（UTC，周一零点为0）",
    "account_age_s": "账号注册至今",
    "member_level": "会员等级",
    "virtual_phone": "虚拟运营商手机号",
    "ip_v6": "IPv6地址",
    "has_coupon": "使用优惠券",
    "channel": "下单渠道",
    "category": "商品类目",
    "payment_method": "支付方式",
}

MODEL_WORDS = (
    "The model as a whole: no single feature raises the risk above the average order's",
    "模型综合评分：没有单个特征使风险高于平均订单",
)


def words(feature: Feature, value: float | str | None) -> tuple[str, str]:
    """The feature and the value it had, in English and in Chinese.

    >>> from features.declare import FIVE_MINUTES, count
    >>> words(count("orders", per="device", within=FIVE_MINUTES, catches="scripts"), 7.0)
    ('Orders of this device in the last 5 minutes: 7', '该设备近5分钟订单数：7')
    """
    english, chinese = feature.description.partition(". ")[0].rstrip("."), name_zh(feature)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return f"{english}: unknown", f"{chinese}：未知"
    if isinstance(value, str):
        return f"{english}: {value}", f"{chinese}：{value}"
    if feature.unit == "flag":
        return f"{english}: {'yes' if value else 'no'}", f"{chinese}：{'是' if value else '否'}"
    if feature.unit == "s":
        return f"{english}: {_duration(value, _EN)}", f"{chinese}：{_duration(value, _ZH)}"
    number = str(int(value)) if value == math.floor(value) else f"{value:.3g}"
    return f"{english}: {number}", f"{chinese}：{number}"


def name_zh(feature: Feature) -> str:
    """The feature in Chinese."""
    if feature.entity is None:
        return _ORDER_ZH.get(feature.name, feature.name.replace(ATTRIBUTE_PREFIX, "商家自有字段 "))
    scope = f"该{_ENTITY_ZH[feature.entity]}{_WINDOW_ZH[feature.window_s or 0]}"
    of = _ENTITY_ZH.get(feature.of or "", _MEASURE_ZH.get(feature.of or "", feature.of))
    events = "或".join(_OUTCOME_ZH.get(part, "") for part in feature.events.split("|"))
    match feature.aggregate:
        case "count":
            return f"{scope}{events}订单数"
        case "rate":
            return f"{scope}{events}订单占比"
        case "sum":
            return f"{scope}{of}合计"
        case "max":
            return f"{scope}最大{of}"
        case "mean":
            return f"{scope}平均{of}"
        case "ratio_to_mean":
            return f"本单{of}与{scope}均值之比"
        case "distinct":
            return f"{scope}不同{of}数"
        case "matches":
            return f"{scope}使用本单{of}的{events}订单数"
        case "first_use":
            return f"{scope}首次使用本单{of}"
        case "changed":
            return f"{scope}{of}与上一单不同"
        case "changes":
            return f"{scope}{of}变更次数"
        case "known_to_circle":
            return f"{scope}有本账号或共用设备、支付工具者的{events}订单"
        case "saturated":
            return f"{scope}订单过多，数值为估计"
        case "seconds_since_last":
            return f"该{_ENTITY_ZH[feature.entity]}距上一单"
        case "seconds_since_first":
            return f"该{_ENTITY_ZH[feature.entity]}距首单"
        case _:
            return feature.name


_EN = ((86_400, " d"), (3_600, " h"), (60, " min"), (1, " s"))
_ZH = ((86_400, "天"), (3_600, "小时"), (60, "分钟"), (1, "秒"))


def _duration(seconds: float, units: tuple[tuple[int, str], ...]) -> str:
    for size, unit in units:
        if seconds >= size:
            return f"{seconds / size:.3g}{unit}"
    return f"{seconds:.3g}{units[-1][1]}"
