"""Which securities a text speaks of. What belongs here: recognising mentions of a universe.

A security is mentioned by cashtag, by exchange and code, by its code at Yahoo, or by one of its
names; never by a bare upper-case word. A name that is also an ordinary word ("Apple", "Visa",
"Kia") counts only where the words around it speak of a company.

What does not belong here: how an article mentions a symbol matters (``articles``), sentiment.
"""

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal, Protocol

import pandas as pd

from quant_assets.errors import BadDataError

Kind = Literal["cashtag", "exchange", "code", "name"]
_Trie = dict[str, "_Trie"]


@dataclass(frozen=True, slots=True)
class Mention:
    """One place in a text that names a security of the universe.

    ``symbol`` is the universe's, ``market`` ``us`` or ``kr``, ``kind`` how it was
    named, ``start`` the index of its first character.
    """

    symbol: str
    market: str
    kind: Kind
    start: int


@dataclass(frozen=True, slots=True)
class _Name:
    symbol: str | None
    text: str
    needs_context: bool


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A match that may become a mention: ``symbol`` None means the words mean something else."""

    symbol: str | None
    kind: Kind
    start: int
    end: int
    is_certain: bool
    may_be_listed: bool = False


_US_EXCHANGES = "NASDAQ(?:G[SM]|CM)?|NYSE(?: ?American| Arca)?|AMEX|ARCA|BATS"
_KR_EXCHANGES = "KRX|KOSPI|KOSDAQ|KSE|KQ|KS|코스피|코스닥"
_CODES = (
    r"(?<![\w$])\$\s?(?P<cash>[A-Za-z]{1,5}(?:[.-][A-Za-z])?)(?!\w)"
    rf"|(?<!\w)(?i:{_US_EXCHANGES})\s*:\s*(?P<us>[A-Z]{{1,5}}(?:[.-][A-Z])?)(?!\w)"
    rf"|(?<!\w)(?i:{_KR_EXCHANGES})\s*:\s*(?P<kr>\d{{6}})(?!\w)"
    r"|(?<!\w)(?P<yahoo>\d{6}\.K[SQ])(?!\w)"
    r"|\((?P<bare>\d{6})\)"
)
_PARTICLES = (
    "은|는|이|가|을|를|의|에|에서|에게|와|과|도|로|으로|만|까지|부터|보다|처럼|측|서|엔|株"
    "|에는|에도|에선|에서는|에서도|와의|과의|와는|과는|나|이나|며|이며|라|이라|라고|이라고|란|이란"
    "|등|뿐|마저|조차|로서|으로서|로부터|으로부터|만의|보다는|보다도|까지도|측은|측이|發|發로"
)
_NAME_ENDS = rf"(?![0-9A-Za-z])(?=(?:{_PARTICLES})?(?![가-힣]))"
_CURLY = str.maketrans({"\u2018": "'", "\u2019": "'"})

_COMPANY_NOUN_BEHIND = re.compile(
    r"(?:,? (?:inc|corp|corporation|company|co|ltd|plc|group)\b"
    r"|(?:'s|')? (?:shares?|stocks?|earnings|revenues?|profits?|dividends?|guidance|ceo|cfo|coo"
    r"|investors?|shareholders?|options|bulls?|bears?|results|quarterly|analysts?|buyback"
    r"|market (?:cap|value)|price target|valuation|antitrust)\b"
    r"|\s?\([A-Za-z]+\s?:"
    r"|(?:의|가|는|은|,)? ?(?:주가|주식|실적|영업이익|매출|순이익|목표주가|노조|판매|공장|전기차"
    r"|신차|배당|시총|시가총액|수출|EV))",
    re.IGNORECASE,
)
_COMPANY_VERB_BEHIND = re.compile(
    r"(?:'s\b"
    r"|,? (?:acquire|add|agree|announce|appeal|ask|beat|boost|build|buy|climb|close|cut|delay|dip"
    r"|drop|expand|expect|extend|face|fall|file|forecast|gain|halt|hike|hire|introduce|invest|join"
    r"|jump|launch|lead|lift|lose|lower|maintain|miss|name|open|partner|plan|plunge|post|raise"
    r"|rall[iy]e?|reaffirm|recall|release|report|reveal|rise|say|see|seek|sell|settle|sink|slash"
    r"|slide|slip|soar|sue|surge|suspend|tell|top|trade|tumble|unveil|urge|warn|win)"
    r"(?:e?s|e?d|[bglnpt]?(?:ed|ing))?\b"
    r"|,? (?:bought|built|fell|has|is|lost|rose|said|sank|saw|slid|sold|told|was|will|won)\b"
    r"|,? to (?:acquire|add|build|buy|close|cut|end|expand|face|hire|invest|join|launch|lay|make"
    r"|open|pay|raise|recall|release|replace|report|sell|settle|shut|spend|split|stop|unveil)\b"
    r"|,? (?:and other|chips?|deliveries|devices|down|executives?|factory|higher|lower|plant"
    r"|products?|rival|sales|services|suppliers?|up)\b)",
    re.IGNORECASE,
)
_COMPANY_NOUN_BEFORE = re.compile(
    r"(?:\b(?:shares? (?:of|in)|stock (?:of|in)|stake in|position in|invest(?:ing|ed)? in|bet on"
    r"|maker|giant|retailer|automaker|carmaker|chipmaker|lender|drugmaker|rating on|bullish on"
    r"|bearish on|coverage of|upgrades?|downgrades?|target (?:on|for)|rival|earnings from) )$",
    re.IGNORECASE,
)
_LIST_JOINT = re.compile(r"(?:'s)?\s*(?:,|&|/|\band\b|\bor\b|\bvs\.?|,\s*and\b|·|、|와|과)\s*")


class Listed(Protocol):
    """What recognition needs of a listing of a universe."""

    @property
    def symbol(self) -> str:
        """Name of the security within the platform."""

    @property
    def yahoo_symbol(self) -> str:
        """Name of the security at Yahoo; its suffix tells the market."""

    @property
    def name(self) -> str:
        """Name of the company."""


class TickerRecognizer:
    """Finds the securities of a universe in text: ``from_universe`` or ``for_listings``."""

    def __init__(
        self,
        markets: Mapping[str, str],
        codes: Mapping[str, str],
        names: Iterable[_Name],
    ) -> None:
        self._markets = markets
        self._codes = codes
        self._names = {name.text.lower(): name for name in names}
        self._pattern = re.compile(
            rf"{_CODES}|(?<![0-9A-Za-z가-힣])(?P<name>(?i:{_trie_pattern(sorted(self._names))}))",
            re.ASCII,
        )

    @classmethod
    def for_listings(cls, listings: Iterable[Listed]) -> "TickerRecognizer":
        """Build a recogniser of listings with the alias tables of the package."""
        universe = pd.DataFrame(
            [(listing.symbol, listing.yahoo_symbol, listing.name) for listing in listings],
            columns=["symbol", "yahoo_symbol", "name"],
        )
        return cls.from_universe(universe, packaged_aliases())

    @classmethod
    def from_universe(cls, universe: pd.DataFrame, aliases: pd.DataFrame) -> "TickerRecognizer":
        """Build a recogniser.

        ``universe`` has ``symbol``, ``yahoo_symbol``, ``name``; ``aliases`` has ``symbol`` (of
        the universe, or empty for words that contain a name and mean something else), ``alias``
        (a name, or ``$`` and another ticker of the same company) and ``needs_context`` (0 or 1).
        A universe name counts as an alias; of one word and without its own row, it needs context.
        Aliases of symbols outside the universe are left out, so that one table serves several.
        """
        markets: dict[str, str] = {}
        codes: dict[str, str] = {}
        names: list[_Name] = []
        for symbol, yahoo_symbol, name in zip(
            universe["symbol"], universe["yahoo_symbol"], universe["name"], strict=True
        ):
            markets[symbol] = "kr" if yahoo_symbol.endswith((".KS", ".KQ")) else "us"
            written = {symbol, yahoo_symbol, yahoo_symbol.replace("-", ".")}
            if markets[symbol] == "kr":
                written.add(yahoo_symbol[:6])
            codes |= dict.fromkeys(map(str.upper, written), symbol)
            names.append(_Name(symbol, name, needs_context=" " not in name))
        for symbol, alias, flag in zip(
            aliases["symbol"].fillna(""),
            aliases["alias"],
            aliases["needs_context"],
            strict=True,
        ):
            if not alias or str(flag) not in {"0", "1"}:
                raise BadDataError(
                    f"alias {alias!r} of {symbol!r} has needs_context {flag!r}: give a non-empty "
                    "alias and 0 or 1"
                )
            if symbol and symbol not in markets:
                continue
            if alias.startswith("$"):
                codes[alias[1:].upper()] = symbol
            else:
                names.append(_Name(symbol or None, alias, needs_context=str(flag) == "1"))
        return cls(markets, codes, names)

    def canonical(self, ticker: str) -> str | None:
        """Return the universe's symbol for a vendor's ticker, None if it is of another security."""
        return self._codes.get(ticker.strip().upper())

    def find(self, text: str) -> list[Mention]:
        """Return the mentions in order of appearance, each place once."""
        if not text.isascii():
            text = text.translate(_CURLY)
        candidates = [
            candidate
            for match in self._pattern.finditer(text)
            if (candidate := self._candidate(text, match)) is not None
        ]
        if any(candidate.may_be_listed for candidate in candidates):
            candidates = _settle_lists(text, candidates)
        return [
            Mention(c.symbol, self._markets[c.symbol], c.kind, c.start)
            for c in candidates
            if c.is_certain and c.symbol is not None
        ]

    def _candidate(self, text: str, match: re.Match[str]) -> _Candidate | None:
        group = match.lastgroup or ""
        start, end = match.span()
        if group == "name":
            return self._named(text, match[0], start, end)
        symbol = self._codes.get(match[group].upper())
        is_korean = group in {"kr", "yahoo", "bare"}
        if symbol is None or (self._markets[symbol] == "kr") != is_korean:
            return None
        kind: Kind = (
            "cashtag" if group == "cash" else "exchange" if group in {"us", "kr"} else "code"
        )
        return _Candidate(symbol, kind, start, end, is_certain=True)

    def _named(self, text: str, found: str, start: int, end: int) -> _Candidate:
        name = self._names[found.lower()]
        if not name.needs_context or name.symbol is None:
            return _Candidate(name.symbol, "name", start, end, is_certain=True)
        is_written_as_name = found == name.text or (found.isupper() and not name.text.isupper())
        is_company = bool(
            _COMPANY_NOUN_BEHIND.match(text, end)
            or (is_written_as_name and _COMPANY_VERB_BEHIND.match(text, end))
            or (
                is_written_as_name and _COMPANY_NOUN_BEFORE.search(text[max(start - 20, 0) : start])
            )
        )
        return _Candidate(name.symbol, "name", start, end, is_company, is_written_as_name)


def _settle_lists(text: str, candidates: list[_Candidate]) -> list[_Candidate]:
    """Accept ambiguous names that stand in a list beside something certain, from both sides."""
    settled = list(candidates)
    for order in (range(1, len(settled)), range(len(settled) - 2, -1, -1)):
        step = 1 if order.step > 0 else -1
        for index in order:
            one, other = settled[index], settled[index - step]
            if one.is_certain or not one.may_be_listed or not other.is_certain:
                continue
            between = text[min(one.end, other.end) : max(one.start, other.start)]
            if _LIST_JOINT.fullmatch(between):
                settled[index] = _Candidate(one.symbol, one.kind, one.start, one.end, True)
    return settled


@cache
def _alias_table(market: str) -> pd.DataFrame:
    content = (resources.files("quant_assets.reference") / f"aliases_{market}.csv").read_bytes()
    return pd.read_csv(io.BytesIO(content), dtype="str", keep_default_na=False)


def packaged_aliases() -> pd.DataFrame:
    """Return the alias tables of all markets: ``symbol``, ``alias``, ``needs_context``."""
    return pd.concat([_alias_table("us"), _alias_table("kr")], ignore_index=True)


def _trie_pattern(names: Sequence[str]) -> str:
    """Return a pattern of all names that shares their beginnings and prefers the longest.

    A plain alternation tries every name at every word; shared beginnings leave a few characters.
    """
    trie: _Trie = {}
    for name in names:
        node = trie
        for char in name:
            node = node.setdefault(char, {})
        node[""] = {}
    return _branches(trie)


def _branches(node: _Trie) -> str:
    branches = [re.escape(char) + _branches(child) for char, child in node.items() if char]
    if "" in node:
        branches.append(_NAME_ENDS)
    return branches[0] if len(branches) == 1 else f"(?:{'|'.join(branches)})"
