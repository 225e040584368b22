"""Who the simulated symbols are. What belongs here: names, sectors and the special symbols."""

import re
from dataclasses import dataclass
from datetime import date
from functools import cache

from quant_assets.markets import KR, US, Market, load_universe
from quant_assets.sandbox.randomness import stable_hash

SECTORS = (
    "Communication Services",
    "Consumer Discretionary",
    "Consumer Staples",
    "Energy",
    "Financials",
    "Health Care",
    "Industrials",
    "Information Technology",
    "Materials",
    "Real Estate",
    "Utilities",
)
INDEX_FUND = "Index"
"""Sector of the symbols that are the market itself."""

UNKNOWN_SYMBOLS = frozenset({"ZZGONE", "900009.KS"})
LISTED_ON = {"ZZNEW": date(2024, 3, 4), "900001.KS": date(2024, 3, 4)}
DELISTED_AFTER = {"ZZOLD": date(2025, 6, 30), "900002.KS": date(2025, 6, 30)}
HALTING_SYMBOLS = frozenset({"ZZHALT", "900003.KS"})

_FUNDS = {
    "SPY": ("S&P 500 index fund", "ETF"),
    "VOO": ("S&P 500 index fund", "ETF"),
    "IVV": ("S&P 500 index fund", "ETF"),
    "QQQ": ("Nasdaq 100 index fund", "ETF"),
    "^GSPC": ("S&P 500", "INDEX"),
    "069500.KS": ("KOSPI 200 index fund", "ETF"),
    "^KS11": ("KOSPI", "INDEX"),
}
_KOREAN = re.compile(r"\d{4}[0-9A-Z]{2}\.K[SQ]")
_AMERICAN = re.compile(r"\^?[A-Z0-9][A-Z0-9.=-]{0,11}")


@dataclass(frozen=True)
class Company:
    """One symbol that the simulated vendors know."""

    symbol: str
    market: Market
    name: str
    sector: str
    instrument_type: str
    rank: int | None
    """Place in its shipped universe, largest first; ``None`` outside it."""

    @property
    def is_fund(self) -> bool:
        """Whether the symbol is the market itself."""
        return self.sector == INDEX_FUND


@cache
def known_companies(market_key: str) -> tuple[Company, ...]:
    """Companies of the shipped universe of a market, largest first."""
    market = KR if market_key == "kr" else US
    return tuple(
        Company(entry.yahoo_symbol, market, entry.name, entry.sector, "EQUITY", rank)
        for rank, entry in enumerate(load_universe(market_key))
    )


@cache
def _known_by_symbol() -> dict[str, Company]:
    return {company.symbol: company for key in ("us", "kr") for company in known_companies(key)}


@cache
def company(symbol: str) -> Company | None:
    """The company behind ``symbol``; ``None`` where the vendor would know none."""
    if symbol in UNKNOWN_SYMBOLS:
        return None
    if (known := _known_by_symbol().get(symbol)) is not None:
        return known
    is_korean = symbol == "^KS11" or bool(_KOREAN.fullmatch(symbol))
    if not is_korean and (symbol.endswith((".KS", ".KQ")) or not _AMERICAN.fullmatch(symbol)):
        return None
    market = KR if is_korean else US
    if symbol in _FUNDS:
        name, instrument_type = _FUNDS[symbol]
        return Company(symbol, market, name, INDEX_FUND, instrument_type, None)
    sector = SECTORS[stable_hash("sector", symbol) % len(SECTORS)]
    return Company(symbol, market, symbol, sector, "EQUITY", None)
