"""Sentiment of short financial texts. What belongs here: the scorers and the choice between scores.

A scorer turns texts into numbers in [-1, 1]. The one shipped is VADER (Hutto and Gilbert, 2014)
with a finance word list laid over its lexicon and a few rules about direction: what rises, falls,
is cut, raised, beaten or missed, and whether that is good for whoever owns the share. A scorer
with a trained model is another class with the same three members.

What does not belong here: which articles speak of which symbol (``tickers``), articles and their
aggregation (``articles``), vendors.
"""

import csv
import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import metadata, resources
from typing import Protocol

import numpy as np
import numpy.typing as npt
from vaderSentiment.vaderSentiment import (
    BOOSTER_DICT,
    C_INCR,
    N_SCALAR,
    NEGATE,
    SPECIAL_CASES,
    SentimentIntensityAnalyzer,
)

from quant_assets.errors import BadDataError

FloatArray = npt.NDArray[np.float64]

RULES_VERSION = "1"

_DIRECTION = {"rise": 1, "raise": 1, "beat": 1, "fall": -1, "cut": -1, "miss": -1}
_POLAR_NOUNS = frozenset({"goal", "market", "burden"})
ROLES = frozenset(_DIRECTION) | _POLAR_NOUNS | {"filler", "break", "negator"}
_GOAL_STRENGTH = {
    "rise": 1.5,
    "fall": 1.5,
    "raise": 2.2,
    "cut": 2.2,
    "beat": 2.4,
    "miss": 2.4,
}
_BURDEN_STRENGTH = 1.6
_MARKET_STRENGTH = 1.3
_PLAIN_NUMBER_STRENGTH = 1.2
_FULL_PERCENT = 20.0

_BOOSTER_DAMPING = {1: 1.0, 2: 0.95, 3: 0.9}
_NEGATIONS = frozenset(NEGATE)
_PUNCTUATION = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
_CLAUSE_ENDS = (",", ";", ":", "|", "--")
_NUMBER = re.compile(
    r"(?P<sign>[+-]?)[$₩€£]?(?P<value>\d[\d,]*(?:\.\d+)?)(?P<unit>%(?:p|대)?|pct)?"
)
_YEAR = re.compile(r"(?:19|20)\d\d")
_PERCENT_WORDS = frozenset({"percent", "pct", "per", "points"})
_TYPOGRAPHY = str.maketrans(
    {"\u2018": "'", "\u2019": "'", "\u2032": "'", "\u201c": '"', "\u201d": '"'}
    | dict.fromkeys("\u2026\u00b7", " ")
    | dict.fromkeys("\u2013\u2014", " -- ")
    | {"\u2212": "-", "\uff05": "%"}
    | dict.fromkeys("\u2191\u25b2", " \u2191 ")
    | dict.fromkeys("\u2193\u25bc", " \u2193 ")
)
_TOKEN_CACHE_SIZE = 200_000


class Scorer(Protocol):
    """Anything that scores texts; ``version`` changes when a text may score otherwise."""

    @property
    def name(self) -> str:
        """Short name stored with every score."""

    @property
    def version(self) -> str:
        """Identity of word list, rules and model, stored with every score."""

    def score(self, texts: Sequence[str]) -> FloatArray:
        """Return one score in [-1, 1] a text, in the order of the texts; empty texts score 0."""


@dataclass(frozen=True, slots=True)
class _Token:
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
    phrases: tuple[tuple[tuple[str, ...], "_Token"], ...] = ()


@dataclass(frozen=True, slots=True)
class _FinanceWord:
    valence: float
    role: str


@cache
def _vader() -> SentimentIntensityAnalyzer:
    return SentimentIntensityAnalyzer()


@cache
def _finance_words() -> tuple[dict[str, _FinanceWord], str]:
    """Return the packaged finance word list and the SHA-256 of its bytes."""
    path = resources.files("quant_assets.reference") / "finance_words.csv"
    content = path.read_bytes()
    words: dict[str, _FinanceWord] = {}
    for line, row in enumerate(csv.DictReader(content.decode("utf-8").splitlines()), start=2):
        valence, role = float(row["valence"]), row["role"]
        if not -4.0 <= valence <= 4.0 or (role and role not in ROLES) or row["word"] in words:
            raise BadDataError(
                f"finance_words.csv line {line}: {row} needs a valence in -4..4, a role among "
                f"{sorted(ROLES)} or none, and a word that does not occur twice; correct the line"
            )
        words[row["word"]] = _FinanceWord(valence, role)
    return words, hashlib.sha256(content).hexdigest()


class FinanceVader:
    """VADER with finance words and rules; with ``finance=False`` exactly VADER's compound score.

    A fresh implementation of VADER's loop over VADER's own lexicon: every distinct token is
    analysed once and kept, so that a headline costs a few dictionary look-ups.
    """

    def __init__(self, *, finance: bool = True) -> None:
        self._finance = finance
        self._lexicon: dict[str, float] = dict(_vader().lexicon)
        self._emojis: dict[str, str] = _vader().emojis
        self._roles: dict[str, str] = {}
        self._phrases: dict[str, list[tuple[tuple[str, ...], _Token]]] = {}
        self._tokens: dict[str, _Token] = {}
        self.name = "finance_vader" if finance else "vader"
        self.version = f"vader-{metadata.version('vaderSentiment')}"
        if finance:
            words, digest = _finance_words()
            self.version += f"+rules-{RULES_VERSION}+words-{digest[:12]}"
            self._lay_over(words)

    def score(self, texts: Sequence[str]) -> FloatArray:
        """Return VADER's compound score of each text, rounded to 4 decimals as VADER does."""
        if len(self._tokens) > _TOKEN_CACHE_SIZE:
            self._tokens.clear()
        return np.fromiter((self._score(text) for text in texts), np.float64, count=len(texts))

    def _lay_over(self, words: dict[str, _FinanceWord]) -> None:
        for word, entry in words.items():
            self._lexicon.pop(word, None)
            if "_" in word.strip("_"):
                parts = tuple(word.split("_"))
                token = _Token(
                    lower=word,
                    in_lexicon=entry.valence != 0,
                    valence=entry.valence or None,
                    is_negation=entry.role == "negator",
                    role=entry.role,
                )
                self._phrases.setdefault(parts[0], []).append((parts[1:], token))
                continue
            if entry.valence:
                self._lexicon[word] = entry.valence
            if entry.role:
                self._roles[word] = entry.role
        for candidates in self._phrases.values():
            candidates.sort(key=lambda item: (-len(item[0]), item[0]))

    def _token(self, raw: str) -> _Token:
        word = raw.strip(_PUNCTUATION)
        if len(word) <= 2 and not (self._finance and word and not word.isascii()):
            word = raw
        lower = word.lower()
        in_lexicon = lower in self._lexicon
        booster = BOOSTER_DICT.get(lower, 0.0)
        token = _Token(
            lower=lower,
            is_upper=word.isupper(),
            in_lexicon=in_lexicon,
            valence=self._lexicon[lower] if in_lexicon and not booster else None,
            booster=booster,
            is_negation=lower in _NEGATIONS or "n't" in lower,
        )
        if self._finance:
            token = self._with_finance(token, raw)
        self._tokens[raw] = token
        return token

    def _with_finance(self, token: _Token, raw: str) -> _Token:
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

    def _score(self, text: str) -> float:
        if not text.isascii():
            text = self._plain(text)
        known, analyse = self._tokens, self._token
        tokens = [known.get(raw) or analyse(raw) for raw in text.split()]
        if not self._finance:
            valences = [token.valence for token in tokens]
        else:
            if any(token.phrases for token in tokens):
                tokens = _merge_phrases(tokens)
            valences = _with_directions(tokens)
        return _compound(_sentiments(tokens, valences), text)

    def _plain(self, text: str) -> str:
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


def _merge_phrases(tokens: list[_Token]) -> list[_Token]:
    """Replace every listed phrase, the longest first, by one token."""
    merged: list[_Token] = []
    position = 0
    while position < len(tokens):
        token = tokens[position]
        width = 1
        for rest, phrase in token.phrases:
            window = tokens[position : position + 1 + len(rest)]
            is_one_clause = not any(part.ends_clause for part in window[:-1])
            if is_one_clause and tuple(part.lower for part in window[1:]) == rest:
                token = replace(phrase, ends_clause=window[-1].ends_clause)
                width = len(window)
                break
        merged.append(token)
        position += width
    return merged


def _with_directions(tokens: list[_Token]) -> list[float | None]:
    """Return each token's valence after the rules on what moves which way.

    A direction word takes the sign of its direction times that of its object (a rising cost is
    bad), and the object's own valence is dropped. Without object and number it keeps the list's.
    """
    valences = [token.valence for token in tokens]
    for position, token in enumerate(tokens):
        direction = _DIRECTION.get(token.role, 0)
        percent, is_number = token.percent, False
        if direction:
            percent, is_number = _number_beside(tokens, position)
            nouns = _nouns_of(tokens, position)
        elif token.is_signed and percent and not _touches_direction(tokens, position):
            direction = 1 if percent > 0 else -1
            nouns = _nouns(tokens, range(position - 1, max(position - 5, -1), -1))
        else:
            continue
        strength = _strength(token, percent, is_number, [tokens[noun].role for noun in nouns])
        if strength:
            is_burden = any(tokens[noun].role == "burden" for noun in nouns)
            valences[position] = -direction * strength if is_burden else direction * strength
            for noun in nouns:
                valences[noun] = None
    return valences


def _strength(token: _Token, percent: float | None, is_number: bool, roles: list[str]) -> float:
    """Return the size of a movement in VADER's scale, 0 if there is nothing that moves."""
    strengths = []
    if "burden" in roles:
        strengths.append(_BURDEN_STRENGTH)
    elif "goal" in roles:
        strengths.append(_GOAL_STRENGTH.get(token.role, 0.0))
    elif roles:
        strengths.append(_MARKET_STRENGTH)
    if percent is not None:
        strengths.append(1.0 + 2.0 * min(abs(percent), _FULL_PERCENT) / _FULL_PERCENT)
    elif is_number and not token.valence:
        strengths.append(_PLAIN_NUMBER_STRENGTH)
    return max([abs(token.valence or 0.0), *strengths]) if strengths else 0.0


def _nouns_of(tokens: list[_Token], position: int) -> list[int]:
    """Find what a direction word speaks of: transitive words look ahead first, others back."""
    token = tokens[position]
    behind = range(position - 1, max(position - 5, -1), -1)
    is_transitive = token.role not in {"rise", "fall"}
    reach = 6 if is_transitive else 3
    ahead = range(position + 1, min(position + reach, len(tokens)))
    if token.ends_clause or (token.valence is None and not is_transitive):
        ahead = range(0)
    first, second = (ahead, behind) if is_transitive else (behind, ahead)
    return _nouns(tokens, first) or _nouns(tokens, second)


def _nouns(tokens: list[_Token], positions: range) -> list[int]:
    """Return the nearest noun with a polarity and those that stand directly beside it."""
    found: list[int] = []
    for position in positions:
        token = tokens[position]
        if positions.step < 0 and token.ends_clause:
            break
        if token.role in _POLAR_NOUNS:
            found.append(position)
            if token.role == "market":
                break
        elif found or token.role == "break" or token.role in _DIRECTION:
            break
        if token.ends_clause:
            break
    return found


def _number_beside(tokens: list[_Token], position: int) -> tuple[float | None, bool]:
    """Return the percentage at a direction word (None without one), and whether any number is."""
    last = len(tokens) - 1
    for ahead in range(position + 1, min(position + 5, len(tokens))):
        token = tokens[ahead]
        if token.number is not None:
            is_percent_word = ahead < last and tokens[ahead + 1].lower in _PERCENT_WORDS
            return (token.number if is_percent_word else token.percent), True
        if token.role != "filler" and not token.booster:
            break
    if position >= 1 and tokens[position - 1].percent is not None:
        return tokens[position - 1].percent, True
    if position >= 2 and tokens[position - 1].lower in _PERCENT_WORDS:
        number = tokens[position - 2].number
        return number, number is not None
    return None, False


def _touches_direction(tokens: list[_Token], position: int) -> bool:
    neighbours = tokens[max(position - 1, 0) : position] + tokens[position + 1 : position + 2]
    return any(token.role in _DIRECTION for token in neighbours)


def _sentiments(tokens: list[_Token], valences: list[float | None]) -> list[float]:
    """Return VADER's sentiment of every token in its context."""
    sentiments = [0.0] * len(tokens)
    is_mixed_case: bool | None = None
    for position, valence in enumerate(valences):
        if valence is None:
            continue
        if is_mixed_case is None:
            upper = sum(token.is_upper for token in tokens)
            is_mixed_case = 0 < upper < len(tokens)
        if tokens[position].lower == "kind" and _lower(tokens, position + 1) == "of":
            continue
        sentiments[position] = _in_context(tokens, position, valence, is_mixed_case)
    if is_mixed_case is not None:
        _weigh_around_but(tokens, sentiments)
    return sentiments


def _lower(tokens: list[_Token], position: int) -> str:
    return tokens[position].lower if 0 <= position < len(tokens) else ""


def _in_context(tokens: list[_Token], position: int, valence: float, is_mixed_case: bool) -> float:
    """Apply VADER's capitals, boosters, negations and idioms to one word's valence."""
    token = tokens[position]
    one, two, three = (_lower(tokens, position - distance) for distance in (1, 2, 3))
    listed = valence
    if token.lower == "no" and position + 1 < len(tokens) and tokens[position + 1].in_lexicon:
        valence = 0.0
    if "no" in (one, two) or (three == "no" and one in {"or", "nor"}):
        valence = listed * N_SCALAR
    if token.is_upper and is_mixed_case:
        valence += C_INCR if valence > 0 else -C_INCR
    for distance in range(1, min(position, 3) + 1):
        before = tokens[position - distance]
        if before.in_lexicon:
            continue
        if before.booster:
            valence += _BOOSTER_DAMPING[distance] * _boost(before, valence, is_mixed_case)
        valence *= _negation(before, distance, one, two, three)
        if distance == 3:
            valence = _with_idioms(tokens, position, valence)
    if one == "least" and not tokens[position - 1].in_lexicon and two not in {"at", "very"}:
        valence *= N_SCALAR
    return valence


def _boost(booster: _Token, valence: float, is_mixed_case: bool) -> float:
    boost = -booster.booster if valence < 0 else booster.booster
    if booster.is_upper and is_mixed_case:
        boost += C_INCR if valence > 0 else -C_INCR
    return boost


def _negation(before: _Token, distance: int, one: str, two: str, three: str) -> float:
    """Return the factor of a negation that stands ``distance`` tokens before a word."""
    emphatic = {"so", "this"}
    if distance == 2 and two == "never" and one in emphatic:
        return 1.25
    if distance == 3 and (one in emphatic or (three == "never" and two in emphatic)):
        return 1.25
    is_without_doubt = before.lower == "without" and (
        (distance == 2 and one == "doubt") or (distance == 3 and "doubt" in (one, two))
    )
    return N_SCALAR if before.is_negation and not is_without_doubt else 1.0


def _with_idioms(tokens: list[_Token], position: int, valence: float) -> float:
    """Apply VADER's special phrases around a word that has three words before it."""
    words = [_lower(tokens, at) for at in range(position - 3, position + 3)]
    three, two, one, zero, next_one, next_two = words
    for idiom in (f"{one} {zero}", f"{two} {one} {zero}", f"{two} {one}", f"{three} {two} {one}",
                  f"{three} {two}"):  # fmt: skip
        if idiom in SPECIAL_CASES:
            valence = SPECIAL_CASES[idiom]
            break
    for idiom in (f"{zero} {next_one}", f"{zero} {next_one} {next_two}"):
        valence = SPECIAL_CASES.get(idiom, valence)
    for idiom in (f"{three} {two} {one}", f"{three} {two}", f"{two} {one}"):
        valence += BOOSTER_DICT.get(idiom, 0.0)
    return valence


def _weigh_around_but(tokens: list[_Token], sentiments: list[float]) -> None:
    """Halve what stands before the first "but" and raise by half what stands behind, in place.

    VADER finds each sentiment by its value, so that of two equal ones the first is weighed twice;
    kept, because the scores are to be VADER's.
    """
    but = next((at for at, token in enumerate(tokens) if token.lower == "but"), None)
    if but is None:
        return
    for at in range(len(sentiments)):
        first = sentiments.index(sentiments[at])
        sentiments[first] *= 0.5 if first < but else 1.5 if first > but else 1.0


def _compound(sentiments: list[float], text: str) -> float:
    total = sum(sentiments)
    if not total:
        return 0.0
    questions = text.count("?")
    emphasis = min(text.count("!"), 4) * 0.292
    if questions > 1:
        emphasis += questions * 0.18 if questions <= 3 else 0.96
    total += emphasis if total > 0 else -emphasis
    return round(total / math.sqrt(total * total + 15.0), 4)


def select_score(provider_score: npt.ArrayLike, text_score: npt.ArrayLike) -> FloatArray:
    """Return the provider's own score where there is one (not null), else ours, within [-1, 1]."""
    provider = np.asarray(provider_score, dtype=np.float64)
    text = np.asarray(text_score, dtype=np.float64)
    return np.clip(np.where(np.isnan(provider), text, provider), -1.0, 1.0)
