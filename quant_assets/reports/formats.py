"""How numbers are written in a report. What belongs here: units to text, nothing of a page."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, Literal

import pandas as pd

from quant_assets.domain.trading_rules import EXCHANGES
from quant_assets.markets import market

Unit = Literal[
    "text",
    "date",
    "return",
    "percent",
    "ratio",
    "coefficient",
    "probability",
    "count",
    "sessions",
    "days",
    "bps",
    "money",
    "whole_money",
    "gain",
    "price",
    "shares",
]
"""``return`` and ``gain`` (percent and money) carry a sign and a colour, the others do not."""
SIGNED = ("return", "gain")
MISSING, MINUS = "–", "−"
SYMBOLS = {"USD": "$", "KRW": "₩"}
_STEPS = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))


def is_missing(value: Any) -> bool:
    """Whether a value is None, NaN, NaT or infinite."""
    if isinstance(value, int | float):
        return not math.isfinite(value)
    return value is None or bool(pd.isna(value))


def number(value: float, decimals: int, *, signed: bool = False) -> str:
    """Digits in groups of three, a real minus, no sign for what rounds to zero."""
    rounded = round(float(value), decimals)
    sign = MINUS if rounded < 0 else "+" if signed and rounded > 0 else ""
    return f"{sign}{abs(rounded):,.{decimals}f}"


def percent(value: float, decimals: int = 2, *, signed: bool = False) -> str:
    """A share of 1 as percent."""
    return MISSING if is_missing(value) else number(100 * value, decimals, signed=signed) + "%"


def compact(value: float) -> str:
    """A large number as a label of an axis: 1.25M."""
    for size, suffix in _STEPS:
        if abs(value) >= size:
            return f"{value / size:.4g}{suffix}".replace("-", MINUS)
    return f"{value:.4g}".replace("-", MINUS)


@dataclass(frozen=True, slots=True)
class Formats:
    """Currency and precision of one market; a currency without cents has none in its prices."""

    symbol: str
    cash_decimals: int
    price_decimals: int

    @classmethod
    def of(cls, market_key: str) -> "Formats":
        """Those of a market: dollars have cents, won have none."""
        exchange, place = EXCHANGES[market_key], market(market_key)
        return cls(
            SYMBOLS.get(place.currency, place.currency + "\N{NO-BREAK SPACE}"),
            exchange.cash_decimals,
            place.price_decimals if exchange.cash_decimals else 0,
        )

    def text(self, unit: Unit, value: Any) -> str:
        """Write ``value`` in ``unit``; an en dash for what is missing."""
        if is_missing(value):
            return MISSING
        if unit == "text":
            return str(value)
        if unit == "date":
            return day(value)
        if unit in ("money", "gain"):
            return self.money(value, signed=unit == "gain")
        if unit == "whole_money":
            return replace(self, cash_decimals=0).money(value)
        if unit == "price":
            return self.price(value)
        return _PLAIN[unit](value)

    def money(self, value: float, *, signed: bool = False) -> str:
        """An amount in the currency of the market."""
        digits = number(value, self.cash_decimals, signed=signed)
        sign = digits[0] if digits[0] in (MINUS, "+") else ""
        return f"{sign}{self.symbol}{digits[len(sign) :]}"

    def axis(self, value: float) -> str:
        """An amount as a label of an axis."""
        return f"{MINUS if value < 0 else ''}{self.symbol}{compact(abs(value))}"

    def price(self, value: float) -> str:
        """A price with the decimals of the currency, more where it has them."""
        whole, _, fraction = number(value, self.price_decimals).partition(".")
        kept = fraction.rstrip("0").ljust(self.cash_decimals, "0")
        return f"{self.symbol}{whole}.{kept}" if kept else f"{self.symbol}{whole}"


def day(value: Any) -> str:
    """A date as YYYY-MM-DD."""
    return f"{value if isinstance(value, date) else pd.Timestamp(value):%Y-%m-%d}"


def tone(unit: Unit, value: Any) -> str:
    """``gain``, ``loss`` or nothing: the colour of a signed value."""
    if unit not in SIGNED or is_missing(value) or value == 0:
        return ""
    return "gain" if value > 0 else "loss"


def _shares(value: float) -> str:
    return number(value, 0 if float(value).is_integer() else 4)


_PLAIN: Mapping[str, Callable[[float], str]] = {
    "return": lambda value: percent(value, signed=True),
    "percent": percent,
    "ratio": lambda value: number(value, 2),
    "coefficient": lambda value: number(value, 3),
    "probability": lambda value: percent(value, 1),
    "count": lambda value: number(value, 0),
    "sessions": lambda value: number(value, 0 if float(value).is_integer() else 1),
    "days": lambda value: number(value, 0) + "\N{NO-BREAK SPACE}d",
    "bps": lambda value: number(value, 1) + "\N{NO-BREAK SPACE}bps",
    "shares": _shares,
}
