"""Words of sentiment. What belongs here: the finance word list, and texts cut into analysed tokens.

``Lexicon`` lays ``finance_words.csv`` over VADER's lexicon. Every distinct token is analysed once
and kept, so that a headline costs a few dictionary look-ups.

What does not belong here: arithmetic (``sentiment_vader``), rules between words
(``sentiment_rules``), Korean (``sentiment_korean``).
"""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources

from vaderSentiment.vaderSentiment import BOOSTER_DICT, NEGATE, SentimentIntensityAnalyzer

from quant_assets.errors import BadDataError

WORD_LIST = "finance_words.csv"
DIRECTION = {"rise": 1, "raise": 1, "beat": 1, "fall": -1, "cut": -1, "miss": -1, "end": -1}
"""Roles of words that say which way something moves, or that it is over."""
POLAR_NOUNS = frozenset({"goal", "market", "burden"})
"""Roles of what may move: wanted by owners, a price, unwanted by owners."""
ROLES = frozenset(DIRECTION) | POLAR_NOUNS | {"filler", "break", "negator"}

_NEGATIONS = frozenset(NEGATE)
_PUNCTUATION = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
_CLAUSE_ENDS = (",", ";", ":", "|", "--")
_NUMBER = re.compile(
    r"(?P<sign>[+-]?)[$₩€£]?(?P<value>\d[\d,]*(?:\.\d+)?)(?P<unit>%(?:p|대)?|pct)?"
)
_YEAR = re.compile(r"(?:19|20)\d\d")
_TYPOGRAPHY = str.maketrans(
    {"\u2018": "'", "\u2019": "'", "\u2032": "'", "\u201c": '"', "\u201d": '"'}
    | dict.fromkeys("\u2026\u00b7", " ")
    | dict.fromkeys("\u2013\u2014", " -- ")
    | {"\u2212": "-", "\uff05": "%"}
    | dict.fromkeys("\u2191\u25b2", " \u2191 ")
    | dict.fromkeys("\u2193\u25bc", " \u2193 ")
)
_TOKEN_CACHE_SIZE = 200_000


@dataclass(frozen=True, slots=True)
class Token:
    """All that scoring needs to know of one whitespace-separated piece of text."""

    lower: str
    is_upper: bool = False
    in_lexicon: bool = False
    valence: float | None = None
    booster: float = 0.0
    is_negation: bool = False
    role: str = ""
    ends_clause: bool = False
    number: float | None = None
    percent: float | None = None
    is_signed: bool = False
    phrases: tuple[tuple[tuple[str, ...], "Token"], ...] = ()


@dataclass(frozen=True, slots=True)
class FinanceWord:
    """One line of the word list: valence in VADER's -4..4 and the role in a sentence."""

    valence: float
    role: str


def word_list_bytes(name: str) -> bytes:
    """Return the packaged word list ``name`` as it lies on disk."""
    return (resources.files("quant_assets.reference") / name).read_bytes()


def word_rows(name: str, key: str, roles: frozenset[str]) -> Iterator[tuple[dict[str, str], float]]:
    """Yield the lines of a word list with their valence.

    Raises ``BadDataError`` naming the line if its valence is not in -4..4, its role is not empty
    and unknown, or its ``key`` is empty or stands there twice.
    """
    seen: set[str] = set()
    rows = csv.DictReader(word_list_bytes(name).decode("utf-8").splitlines())
    for line, row in enumerate(rows, start=2):
        try:
            valence = float(row["valence"])
        except ValueError:
            valence = 9.0
        word, role = row[key], row["role"]
        if not -4.0 <= valence <= 4.0 or (role and role not in roles) or not word or word in seen:
            raise BadDataError(
                f"{name} line {line}: {row} needs a valence in -4..4, a role among "
                f"{sorted(roles)} or none, and a {key} that does not occur twice; correct the line"
            )
        seen.add(word)
        yield row, valence


@cache
def vader() -> SentimentIntensityAnalyzer:
    """Return the analyser of vaderSentiment, whose lexicon and emoji names are ours too."""
    return SentimentIntensityAnalyzer()


class Lexicon:
    """VADER's lexicon, with ``finance`` under the finance word list, and its tokens."""

    def __init__(self, *, finance: bool) -> None:
        self._finance = finance
        self._valences: dict[str, float] = dict(vader().lexicon)
        self._emojis: dict[str, str] = vader().emojis
        self._roles: dict[str, str] = {}
        self._phrases: dict[str, list[tuple[tuple[str, ...], Token]]] = {}
        self._tokens: dict[str, Token] = {}
        if finance:
            for row, valence in word_rows(WORD_LIST, "word", ROLES):
                self._lay_over(row["word"], FinanceWord(valence, row["role"]))
            for candidates in self._phrases.values():
                candidates.sort(key=lambda item: (-len(item[0]), item[0]))

    def tokens(self, text: str) -> list[Token]:
        """Return the tokens of a text that ``plain`` made, with phrases as one token."""
        if len(self._tokens) > _TOKEN_CACHE_SIZE:
            self._tokens.clear()
        known, analyse = self._tokens, self._token
        tokens = [known.get(raw) or analyse(raw) for raw in text.split()]
        if self._finance and any(token.phrases for token in tokens):
            tokens = _merge_phrases(tokens)
        return tokens

    def plain(self, text: str) -> str:
        """Spell out emoji as VADER does; with finance, also make typography ASCII."""
        if self._finance:
            text = text.translate(_TYPOGRAPHY)
        if not any(char in self._emojis for char in text):
            return text
        pieces: list[str] = []
        after_space = True
        for char in text:
            description = self._emojis.get(char)
            if description is None:
                pieces.append(char)
                after_space = char == " "
            else:
                pieces.append(description if after_space else f" {description}")
                after_space = False
        return "".join(pieces)

    def _lay_over(self, word: str, entry: FinanceWord) -> None:
        self._valences.pop(word, None)
        if "_" in word.strip("_"):
            parts = tuple(word.split("_"))
            token = Token(
                lower=word,
                in_lexicon=entry.valence != 0,
                valence=entry.valence or None,
                is_negation=entry.role == "negator",
                role=entry.role,
            )
            self._phrases.setdefault(parts[0], []).append((parts[1:], token))
            return
        if entry.valence:
            self._valences[word] = entry.valence
        if entry.role:
            self._roles[word] = entry.role

    def _token(self, raw: str) -> Token:
        word = raw.strip(_PUNCTUATION)
        if len(word) <= 2 and not (self._finance and word and not word.isascii()):
            word = raw
        lower = word.lower()
        in_lexicon = lower in self._valences
        booster = BOOSTER_DICT.get(lower, 0.0)
        token = Token(
            lower=lower,
            is_upper=word.isupper(),
            in_lexicon=in_lexicon,
            valence=self._valences[lower] if in_lexicon and not booster else None,
            booster=booster,
            is_negation=lower in _NEGATIONS or "n't" in lower,
        )
        if self._finance:
            token = self._with_finance(token, raw)
        self._tokens[raw] = token
        return token

    def _with_finance(self, token: Token, raw: str) -> Token:
        bare = raw.strip("()[]\"',;:!?.").lower()
        match = _NUMBER.fullmatch(bare)
        number = percent = None
        if match and not _YEAR.fullmatch(bare):
            number = float(match["value"].replace(",", ""))
            number = -number if match["sign"] == "-" else number
            percent = number if match["unit"] else None
        role = self._roles.get(token.lower, "") or self._roles.get(bare, "")
        return replace(
            token,
            in_lexicon=token.in_lexicon and role != "negator",
            is_negation=token.is_negation or role == "negator",
            role=role,
            ends_clause=raw.endswith(_CLAUSE_ENDS),
            number=number,
            percent=percent,
            is_signed=match is not None and bool(match["sign"]),
            phrases=tuple(self._phrases.get(token.lower, ())),
        )


def _merge_phrases(tokens: list[Token]) -> list[Token]:
    """Replace every listed phrase, the longest first, by one token."""
    merged: list[Token] = []
    position = 0
    while position < len(tokens):
        token = tokens[position]
        phrase, width = _phrase_at(tokens, position) if token.phrases else (token, 1)
        merged.append(phrase)
        position += width
    return merged


def _phrase_at(tokens: list[Token], position: int) -> tuple[Token, int]:
    """Return the longest phrase that begins at a token, and how many tokens it takes."""
    token = tokens[position]
    if token.ends_clause or position + 1 == len(tokens):
        return token, 1
    following = tokens[position + 1].lower
    for rest, phrase in token.phrases:
        if rest[0] != following:
            continue
        window = tokens[position + 1 : position + 1 + len(rest)]
        is_one_clause = not any(part.ends_clause for part in window[:-1])
        if is_one_clause and tuple(part.lower for part in window) == rest:
            return replace(phrase, ends_clause=window[-1].ends_clause), 1 + len(rest)
    return token, 1
