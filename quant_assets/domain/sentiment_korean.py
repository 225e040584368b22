"""Sentiment of Korean headlines. What belongs here: the Korean word list and the rules of its use.

Stems are found wherever they stand, so that particles and endings do not matter; the longest
wins. Korean puts the verb last: a direction takes the sign of the noun before it in its clause
(적자 축소 is good, 흑자 감소 bad), and what leads up to the verb counts less than the verb.

What does not belong here: English (``sentiment_rules``), the choice of language (``sentiment``).
"""

import re
from dataclasses import dataclass

from quant_assets.domain.sentiment_lexicon import word_rows

WORD_LIST = "finance_words_ko.csv"
_NOUNS = {"goal": 1, "burden": -1}
_DIRECTIONS = {"rise": 1, "fall": -1}
ROLES = frozenset(
    {*_NOUNS, *_DIRECTIONS, "better", "worse", "peak", "ease", "beat", "miss", "negator", "before",
     "skip"}
)  # fmt: skip
"""Roles of stems: what moves, which way it goes, extremes, ends, negation; ``skip`` is no news."""
_HOLDS_ON = frozenset({"negator", "ease"})

_MOVE_STRENGTH = 1.6
_MISSING_GOAL = 1.2
_NEGATION = -0.74
_FULL_PERCENT = 20.0
_LEAD_WEIGHT = 0.5
_WITHOUT_NEWS_WEIGHT = 0.25
_NORMALISER = 15.0

_CLAUSE_END = r"(?P<end>[,;:]\s|[.!]\s|…|\.{2,}|·|→|\s/\s|\s[-–—]\s)"
_PERCENT = r"(?P<sign>[+-])?(?P<percent>\d+(?:[.,]\d+)?)\s?(?:%|퍼센트|프로)"
_ENDING = re.compile(r"[가-힣]*")
_CAUSE = re.compile(r"(?:세|폭|률)?(?:에|에도|로|으로|에서|때문)(?:$|[는도서])")
_CONTRAST = re.compile(r"[가-힣]{0,4}?(?:지만|으나|는데|불구)$")
_AND = re.compile(r"[가-힣]{0,4}?(?:하고|했고|되고|됐고|었고|하며|되며|으며)$")
_PAST_RELATIVE = re.compile(r"(?:했던|됐던|하던|되던)")


@dataclass(frozen=True, slots=True)
class _Stem:
    valence: float
    role: str


@dataclass(slots=True)
class _Value:
    """One finding in a clause: ``sign`` of the noun or move, and what it adds to the score."""

    valence: float
    sign: int
    is_noun: bool
    is_direction: bool = False
    is_peak: bool = False


class KoreanLexicon:
    """Scores Korean texts by ``finance_words_ko.csv``."""

    def __init__(self) -> None:
        self._stems: dict[str, _Stem] = {}
        patterns: list[str] = []
        for row, valence in word_rows(WORD_LIST, "stem", ROLES):
            stem = row["stem"]
            self._stems[stem.replace("_", "")] = _Stem(valence, row["role"])
            edge = r"(?<![가-힣])" if row["at_word_start"] == "1" else ""
            patterns.append(edge + re.escape(stem).replace("_", r"\s?"))
        patterns.sort(key=lambda pattern: (-len(pattern.rsplit(")", 1)[-1]), pattern))
        self._pattern = re.compile(f"{_CLAUSE_END}|{_PERCENT}|(?P<stem>{'|'.join(patterns)})")

    def score(self, text: str) -> float:
        """Return the score of one text in [-1, 1], rounded to 4 decimals."""
        clauses: list[tuple[float, float]] = []
        clause = _Clause()
        closing: float | None = None
        for match in self._pattern.finditer(text):
            stem = self._stems["".join(match["stem"].split())] if match["stem"] else None
            if match["end"] or (closing is not None and not (stem and stem.role in _HOLDS_ON)):
                clauses.append((clause.total(), 1.0 if closing is None else closing))
                clause = _Clause()
            closing = None
            if match["percent"]:
                clause.see_percent(float(match["percent"].replace(",", ".")), match["sign"] or "")
            elif stem is not None:
                ending_match = _ENDING.match(text, match.end())
                ending = ending_match[0] if ending_match else ""
                clause.see(stem, is_past=bool(_PAST_RELATIVE.match(ending)))
                closing = _weight_of(ending, stem.role)
        clauses.append((clause.total(), 1.0))
        return _squeeze(clauses, text)


class _Clause:
    """What one clause says, built up word by word."""

    def __init__(self) -> None:
        self._values: list[_Value] = []
        self._percent: float | None = None
        self._negate_next = False

    def total(self) -> float:
        """Return the sum of what the clause says."""
        return sum(value.valence for value in self._values)

    def see_percent(self, percent: float, sign: str) -> None:
        """Note a percentage; a signed one is a move by itself."""
        self._percent = percent
        if sign:
            self._move(1 if sign == "+" else -1, 0.0)

    def see(self, stem: _Stem, *, is_past: bool) -> None:
        """Add one stem; ``is_past`` for what was hoped or feared and no longer is."""
        role = stem.role
        if role == "skip":
            return
        if role == "before":
            self._negate_next = True
        elif role in _NOUNS:
            self._name(_NOUNS[role], 0.0 if is_past else stem.valence)
        elif role in {"better", "worse"}:
            sign = 1 if stem.valence > 0 else -1
            changed = _Value(stem.valence, sign, is_noun=False, is_direction=True)
            self._replace(self._object(), changed)
        elif role == "peak":
            self._peak(stem.valence)
        elif role in _DIRECTIONS:
            self._move(_DIRECTIONS[role], stem.valence)
        elif role in {"beat", "miss"}:
            self._compare(stem.valence)
        elif role == "ease":
            self._ease(stem.valence)
        elif role == "negator":
            self._negate(stem.valence)
        else:
            self._values.append(_Value(stem.valence, 1 if stem.valence > 0 else -1, is_noun=False))
        if self._negate_next and role != "before" and role not in _NOUNS and self._values:
            self._values[-1].valence *= _NEGATION
            self._negate_next = False

    def _object(self) -> _Value | None:
        """Return what a following verb speaks of: the last noun, or the move right before it."""
        last = self._values[-1] if self._values else None
        return last if last and (last.is_noun or last.is_direction) else None

    def _replace(self, about: _Value | None, value: _Value) -> None:
        """Put a verb's value in the place of its object, and of all that led up to a feeling."""
        if about is not None:
            if about.is_noun and about.valence:
                self._values.clear()
            for earlier in self._values:
                earlier.valence *= 0.0 if earlier is about or earlier.is_noun else _LEAD_WEIGHT
        self._values.append(value)

    def _move(self, direction: int, listed: float) -> None:
        about = self._object()
        strength = abs(listed)
        if about is not None:
            strength = max(strength, abs(about.valence), 1.2)
        if self._percent is not None and (listed or about is not None):
            strength = max(strength, 1.0 + 2.0 * min(self._percent, _FULL_PERCENT) / _FULL_PERCENT)
        if about is None:
            self._values.append(
                _Value(
                    direction * strength if listed else 0.0,
                    direction,
                    is_noun=False,
                    is_direction=True,
                )
            )
            return
        sign = direction * about.sign
        self._replace(about, _Value(sign * strength, sign, is_noun=False, is_direction=True))

    def _name(self, sign: int, listed: float) -> None:
        """Add a noun; an extreme before it is the noun's: 사상 최대 적자 is a record loss."""
        last = self._values[-1] if self._values else None
        if last is not None and last.is_peak and sign < 0:
            last.valence, last.sign, listed = -last.valence, -last.sign, 0.0
        self._values.append(_Value(listed, sign, is_noun=True))

    def _peak(self, listed: float) -> None:
        about = self._object()
        valence = listed if about is None else about.sign * listed
        sign = 1 if valence > 0 else -1
        self._replace(about, _Value(valence, sign, is_noun=False, is_peak=True))

    def _compare(self, listed: float) -> None:
        is_burden = any(v.is_noun and v.sign < 0 and not v.valence for v in self._values)
        for value in self._values:
            if value.is_noun:
                value.valence = 0.0
        valence = -listed if is_burden else listed
        self._values.append(_Value(valence, 1 if valence > 0 else -1, is_noun=False))

    def _ease(self, listed: float) -> None:
        about = self._object() or (self._values[-1] if self._values else None)
        if about is None or not (about.is_noun or about.valence):
            valence = listed
        else:
            strength = max(_MOVE_STRENGTH, abs(listed))
            valence = strength if about.sign < 0 else -strength if listed <= 0.6 else strength
        self._replace(about, _Value(valence, 1 if valence > 0 else -1, is_noun=False))

    def _negate(self, listed: float) -> None:
        last = self._values[-1] if self._values else None
        if last is None:
            self._values.append(_Value(listed, -1, is_noun=False))
        elif last.valence:
            last.valence *= _NEGATION
            last.sign = -last.sign
        elif last.is_noun:
            last.valence = -last.sign * max(_MISSING_GOAL, abs(listed))


def _weight_of(ending: str, role: str) -> float | None:
    """Return the weight of the clause that a stem with this ending closes, None if it goes on."""
    if role in {"before", "skip"} or not ending:
        return None
    if _CONTRAST.match(ending):
        return _LEAD_WEIGHT
    if role in {"goal", "burden"}:
        return None
    if _CAUSE.match(ending):
        return _LEAD_WEIGHT
    return 1.0 if _AND.match(ending) else None


def _squeeze(clauses: list[tuple[float, float]], text: str) -> float:
    """Add up the clauses as VADER squeezes sums; a lone leading clause keeps its full weight."""
    has_main = any(total and weight == 1.0 for total, weight in clauses)
    total = sum(total * (weight if has_main else 1.0) for total, weight in clauses)
    if not total:
        return 0.0
    if text.rstrip(" \"'”’").endswith("?"):
        total *= _WITHOUT_NEWS_WEIGHT
    return float(round(total / (total * total + _NORMALISER) ** 0.5, 4))
