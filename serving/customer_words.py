"""What a customer is told: enough to go on with, and nothing that shows how we tell."""

from serving.decisions import Action, CustomerWords

CUSTOMER_WORDS: dict[Action, CustomerWords] = {
    "accept": CustomerWords(
        code="accepted", text="Your order can be paid now.", text_zh="您的订单可以付款。"
    ),
    "verify_sms": CustomerWords(
        code="confirm_by_code",
        text="Please confirm this order with the code that we send to your phone.",
        text_zh="为保护您的账户，请输入发送到您手机的验证码以确认订单。",
    ),
    "verify_call": CustomerWords(
        code="confirm_by_call",
        text="We will call you shortly to confirm this order.",
        text_zh="为保护您的账户，我们将很快致电与您确认订单。",
    ),
    "freeze": CustomerWords(
        code="being_checked",
        text="Your order is being checked by our staff. You will hear from us, and nothing is charged until then.",
        text_zh="您的订单正在由工作人员核实，结果将尽快通知您，在此之前不会扣款。",
    ),
    "cancel": CustomerWords(
        code="not_possible",
        text="We cannot take this order. If you think that this is a mistake, please appeal; you have not been charged.",
        text_zh="抱歉，我们无法受理此订单，您没有被扣款。如有疑问，请提交申诉。",
    ),
}
"""By action alone: what a rule or the model saw must not leak to those it is there for."""
