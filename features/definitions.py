"""Every feature of the shop-independent set, one line each.

Adding a feature is adding a line. Nothing else has to change: the engine, the documentation, the
frame and the model signature follow from this list.
"""

from features.declare import (
    DAY,
    FIVE_MINUTES,
    HOUR,
    MINUTE,
    MONTH,
    WEEK,
    changed,
    count,
    distinct,
    first_use,
    largest,
    matches,
    mean,
    of_order,
    rate,
    ratio_to_mean,
    seconds_since_first,
    seconds_since_last,
    total,
)

# One declaration a line, however long: the list is read as a table.
# fmt: off
OF_THE_ORDER = (
    of_order("amount", unit="minor units", description="Quantity times unit price. Catches stolen payment, which buys dear."),
    of_order("quantity", unit="items", description="Items ordered. Catches stock holds and scalpers."),
    of_order("price_to_list", unit="ratio", description="Unit price to list price. Catches price errors and promo abuse; missing without a list price."),
    of_order("hour_of_day", unit="h", description="Hour of the event time in UTC, 0 to 23. Catches scripts that run at night."),
    of_order("weekday", unit="day", description="Day of the week of the event time in UTC, Monday 0 to Sunday 6."),
    of_order("account_age_s", unit="s", description="Seconds from the account's creation to the order, at least 0. Catches throw-away accounts."),
    of_order("member_level", unit="level", description="Member level, 0 to 6. Honest regulars stand high."),
    of_order("virtual_phone", unit="flag", description="1 when the phone is of a virtual operator (162, 165, 167, 170, 171). Catches numbers bought in bulk."),
    of_order("ip_v6", unit="flag", description="1 for an IPv6 address, 0 for IPv4. Catches nothing alone; prefixes of the two differ in size."),
    of_order("has_coupon", unit="flag", description="1 when a coupon is used. Catches promo abuse."),
    of_order("channel", unit="text", dtype="string", description="Where the order came in."),
    of_order("category", unit="text", dtype="string", description="Category of the goods."),
    of_order("payment_method", unit="text", dtype="string", description="How the order is to be paid."),
)

OF_THE_ACCOUNT = (
    count("orders", per="account", within=FIVE_MINUTES, catches="scripts"),
    count("orders", per="account", within=HOUR, catches="scalpers and probes"),
    count("orders", per="account", within=DAY, catches="stock holds spread over a day"),
    count("orders", per="account", within=WEEK, catches="slow holds; regulars are known by it too"),
    count("orders", per="account", within=MONTH, catches="accounts without a past"),
    total("amount", per="account", within=DAY, catches="a card emptied in one day"),
    largest("amount", per="account", within=MONTH, catches="a sudden dear order"),
    mean("amount", per="account", within=MONTH, catches="an account that buys beyond its habit"),
    ratio_to_mean("amount", per="account", within=MONTH, catches="an order beyond the account's habit"),
    distinct("device", per="account", within=DAY, catches="a taken-over account"),
    distinct("device", per="account", within=MONTH, catches="shared and traded accounts"),
    distinct("ip_prefix", per="account", within=DAY, catches="proxies that rotate"),
    distinct("address", per="account", within=DAY, catches="scalpers; gift senders are told apart by completed orders"),
    distinct("address", per="account", within=MONTH, catches="resellers"),
    distinct("phone", per="account", within=MONTH, catches="accounts fed with bought numbers"),
    distinct("payment", per="account", within=DAY, catches="card testing"),
    distinct("recipient", per="account", within=DAY, catches="resellers; gift senders have few"),
    distinct("sku", per="account", within=HOUR, catches="bot probes that try the catalogue"),
    seconds_since_last(per="account", catches="scripts: people need time between orders"),
    seconds_since_first(per="account", catches="accounts that woke up just now"),
    changed("address", per="account", within=MONTH, name="address_changed", catches="taken-over accounts that ship elsewhere"),
    first_use("device", per="account", within=MONTH, name="new_device_for_account", catches="taken-over accounts"),
    matches("address", per="account", within=MONTH, catches="strange addresses: a family address has a past"),
    matches("address", per="account", within=MONTH, events="completed", catches="strange addresses: completed orders prove a family address"),
    count("expired", per="account", within=DAY, catches="stock holds"),
    count("expired", per="account", within=MONTH, catches="accounts that hold stock again and again"),
    count("cancelled_risk|charged_back|reviewed_fraud", per="account", within=MONTH, name="account_bad_30d", catches="accounts that were found out before"),
    count("cancelled_other", per="account", within=MONTH, catches="customers who change their mind"),
    count("completed", per="account", within=MONTH, catches="accounts without a single good order"),
    rate("expired|cancelled_risk|cancelled_other", per="account", within=MONTH, name="account_unfinished_rate_30d", catches="accounts whose orders come to nothing"),
)

OF_THE_DEVICE = (
    count("orders", per="device", within=MINUTE, catches="scripts: 12 orders in 3 seconds"),
    count("orders", per="device", within=FIVE_MINUTES, catches="scripts that order faster than people"),
    count("orders", per="device", within=HOUR, catches="rings that rotate accounts over few devices"),
    count("orders", per="device", within=DAY, catches="patient rings"),
    distinct("account", per="device", within=HOUR, catches="account rotation; a household has few"),
    distinct("account", per="device", within=DAY, catches="account rotation"),
    distinct("account", per="device", within=MONTH, catches="account farms"),
    distinct("address", per="device", within=DAY, catches="scalpers who ship to drops"),
    distinct("phone", per="device", within=DAY, catches="bought phone numbers"),
    distinct("payment", per="device", within=DAY, catches="card testing"),
    seconds_since_last(per="device", catches="scripts that only change the account"),
    count("expired", per="device", within=DAY, catches="stock holds under many accounts"),
    count("payment_failed", per="device", within=DAY, catches="card testing"),
    count("cancelled_risk|charged_back|reviewed_fraud", per="device", within=MONTH, name="device_bad_30d", catches="devices that were found out before"),
    count("completed", per="device", within=MONTH, catches="devices without a single good order"),
)

OF_THE_NETWORK = (
    count("orders", per="ip", within=FIVE_MINUTES, catches="scripts behind one address"),
    count("orders", per="ip", within=HOUR, catches="bots; carrier addresses are busy too"),
    distinct("account", per="ip", within=HOUR, catches="account rotation"),
    distinct("device", per="ip", within=HOUR, catches="device farms; carrier addresses have many"),
    count("orders", per="ip_prefix", within=FIVE_MINUTES, catches="attacks from one segment"),
    count("orders", per="ip_prefix", within=HOUR, catches="rings that rotate addresses in a segment"),
    distinct("account", per="ip_prefix", within=HOUR, catches="rings in one segment"),
    distinct("device", per="ip_prefix", within=HOUR, catches="few devices behind many addresses"),
    distinct("phone", per="ip_prefix", within=HOUR, catches="bought phone numbers"),
    count("expired", per="ip_prefix", within=HOUR, catches="stock holds from one segment"),
    rate("expired|cancelled_risk", per="ip_prefix", within=HOUR, name="ip_prefix_hold_rate_1h", catches="segments whose orders come to nothing"),
)

OF_THE_GOODS_WAY = (
    count("orders", per="address", within=DAY, catches="drops"),
    distinct("account", per="address", within=DAY, catches="drops that collect for many accounts"),
    distinct("account", per="address", within=MONTH, catches="drops; a household has few"),
    count("cancelled_risk|charged_back|reviewed_fraud", per="address", within=MONTH, name="address_bad_30d", catches="addresses that were found out before"),
    count("completed", per="address", within=MONTH, catches="addresses without a single good order"),
    count("orders", per="phone", within=DAY, catches="one number behind many orders"),
    distinct("account", per="phone", within=WEEK, catches="one number behind many accounts"),
    distinct("account", per="recipient", within=WEEK, catches="straw men"),
    count("orders", per="payment", within=HOUR, catches="a stolen card used in haste"),
    distinct("account", per="payment", within=WEEK, catches="one card behind many accounts"),
    count("payment_failed", per="payment", within=DAY, name="payment_failures_24h", catches="cards that are tried out"),
)

OF_THE_OFFER = (
    count("orders", per="sku", within=FIVE_MINUTES, catches="runs on one article: scalpers and price errors"),
    total("quantity", per="sku", within=FIVE_MINUTES, catches="stock that vanishes at once"),
    count("orders", per="merchant", within=FIVE_MINUTES, catches="attacks on one merchant"),
)
# fmt: on

FEATURES = (
    *OF_THE_ORDER,
    *OF_THE_ACCOUNT,
    *OF_THE_DEVICE,
    *OF_THE_NETWORK,
    *OF_THE_GOODS_WAY,
    *OF_THE_OFFER,
)
