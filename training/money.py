"""Amounts as people read them."""

# ISO 4217: minor units of a currency where they are not two decimals
_DECIMALS: dict[str, int] = dict.fromkeys(
    ("CLP", "ISK", "JPY", "KRW", "PYG", "UGX", "VND", "XAF", "XOF"), 0
)
_DECIMALS.update(dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3))


def money(amount: int, currency: str) -> str:
    """An amount in minor units as text.

    >>> money(123456, "CNY"), money(500, "JPY")
    ('1,234.56 CNY', '500 JPY')
    """
    decimals = _DECIMALS.get(currency, 2)
    return f"{amount / 10**decimals:,.{decimals}f} {currency}"
