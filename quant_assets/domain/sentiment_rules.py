"""Rules between words of English headlines. What belongs here: what moves which way, and for whom.

A move is good or bad by what moves: a rising profit, a falling cost. Figures are held against what
was expected, negation reaches to its object, and the main clause outweighs what it follows upon.

What does not belong here: the word list (``sentiment_lexicon``), VADER's arithmetic
(``sentiment_vader``), Korean (``sentiment_korean``).
"""

import re

from vaderSentiment.vaderSentiment import N_SCALAR

from quant_assets.domain.sentiment_lexicon import DIRECTION, POLAR_NOUNS, Token

_GOAL_STRENGTH = {"rise": 1.5, "fall": 1.5, "raise": 2.2, "cut": 2.2, "beat": 2.4, "miss": 2.4}
_BURDEN_STRENGTH = 1.6
_MARKET_STRENGTH = 1.3
_PLAIN_NUMBER_STRENGTH = 1.2
_FULL_PERCENT = 20.0
_AGAINST_EXPECTED_STRENGTH = 2.2
_PERCENT_WORDS = frozenset({"percent", "pct", "per", "points"})

_OF = frozenset({"of", "in"})
_ARTICLES = frozenset({"the", "a", "an", "its", "their", "our", "this"})
_COMPARISONS = frozenset({"against", "versus", "vs", "vs.", "compared", "than", "instead"})
_EXPECTED = frozenset(
    {"expected", "forecast", "forecasts", "estimate", "estimates", "estimated", "est", "consensus",
     "expectations", "expectation", "predicted", "projected", "anticipated", "view", "views"}
)  # fmt: skip
_FAR_NEGATIONS = frozenset({"not", "never"})
_NEGATION_REACH = 7
_JOINTS = frozenset({"and", "but", "as", "while", "because", "since", "when", "if", "who", "which"})
_CONCESSIONS = frozenset({"despite", "although", "though", "notwithstanding"})
_ANTECEDENTS = frozenset({"after", "following", "from", "until", "since"})
_SUBORDINATORS = _CONCESSIONS | _ANTECEDENTS
_CONCESSION_WEIGHT = 0.35
_ANTECEDENT_WEIGHT = 0.35
_WITHOUT_NEWS_WEIGHT = 0.25
_ADVICE = re.compile(
    r"(?:how (?:to|much|many)|what to|what you|where to|(?:top )?\d+ (?:things|stocks|charts) )"
)


def with_directions(tokens: list[Token]) -> list[float | None]:
    """Return each token's valence after the rules on what moves which way.

    A direction word takes the sign of its direction times that of its object (a rising cost is
    bad), and the object's own valence is dropped. Without object and number it keeps the list's.
    """
    valences = [token.valence for token in tokens]
    for position, token in enumerate(tokens):
        direction = DIRECTION.get(token.role, 0)
        percent, is_number = token.percent, False
        if direction:
            percent, is_number = _number_beside(tokens, position)
            nouns = _nouns_of(tokens, position)
        elif token.is_signed and percent and not _touches_direction(tokens, position):
            direction = 1 if percent > 0 else -1
            nouns = _nouns(tokens, range(position - 1, max(position - 5, -1), -1))
        else:
            continue
        is_burden = any(tokens[noun].role == "burden" for noun in nouns)
        if token.role == "end" and not is_burden:
            continue
        strength = _strength(token, percent, is_number, [tokens[noun].role for noun in nouns])
        if strength:
            valences[position] = -direction * strength if is_burden else direction * strength
            for noun in nouns:
                valences[noun] = None
    _hold_against_expected(tokens, valences)
    return valences


def _strength(token: Token, percent: float | None, is_number: bool, roles: list[str]) -> float:
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


def _nouns_of(tokens: list[Token], position: int) -> list[int]:
    """Find what a direction word speaks of: transitive words look ahead first, others back."""
    token = tokens[position]
    behind = range(position - 1, max(position - 5, -1), -1)
    is_transitive = token.role not in {"rise", "fall"}
    reach = 6 if is_transitive else 3
    ahead = range(position + 1, min(position + reach, len(tokens)))
    if token.ends_clause or (token.valence is None and not is_transitive):
        ahead = range(0)
    first, second = (ahead, behind) if is_transitive else (behind, ahead)
    if token.role == "end":
        return _nouns(tokens, ahead)
    return _nouns(tokens, first) or _nouns(tokens, second)


def _nouns(tokens: list[Token], positions: range) -> list[int]:
    """Return the nearest noun with a polarity and those that stand directly beside it."""
    found: list[int] = []
    for position in positions:
        token = tokens[position]
        if positions.step < 0 and token.ends_clause:
            break
        if token.role in POLAR_NOUNS:
            found.append(position)
            if token.role == "market":
                break
        elif found or token.role == "break" or token.role in DIRECTION:
            break
        if token.ends_clause:
            break
    if found and positions.step < 0:
        head = _head(tokens, found[-1])
        return found if head is None else [head]
    return found


def _head(tokens: list[Token], position: int) -> int | None:
    """Return the noun on which another depends: of "loss of the market share", the loss."""
    position -= 1
    while position > 0 and tokens[position].lower in _ARTICLES:
        position -= 1
    if position < 1 or tokens[position].lower not in _OF or tokens[position - 1].ends_clause:
        return None
    return position - 1 if tokens[position - 1].role in POLAR_NOUNS else None


def _number_beside(tokens: list[Token], position: int) -> tuple[float | None, bool]:
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


def _touches_direction(tokens: list[Token], position: int) -> bool:
    neighbours = tokens[max(position - 1, 0) : position] + tokens[position + 1 : position + 2]
    return any(token.role in DIRECTION for token in neighbours)


def _hold_against_expected(tokens: list[Token], valences: list[float | None]) -> None:
    """Value a figure by the expected one, and drop what was merely expected, in place.

    "EPS of $2.10 vs. $1.95 expected" is a beat; in "slipped 2%, against forecasts for a 5% gain"
    the gain did not happen.
    """
    if _COMPARISONS.isdisjoint([token.lower for token in tokens]):
        return
    for position, token in enumerate(tokens):
        if token.lower not in _COMPARISONS:
            continue
        clause = _rest_of_clause(tokens, position + 1)
        if any(tokens[at].lower in _EXPECTED for at in clause[:3]):
            for at in clause:
                valences[at] = None
        expected = next((at for at in clause[:3] if tokens[at].number is not None), None)
        if expected is None or not any(tokens[at].lower in _EXPECTED for at in clause[:8]):
            continue
        noun, surprise = _surprise(tokens, position, tokens[expected].number or 0.0)
        if surprise:
            valences[noun], valences[position] = None, surprise


def _rest_of_clause(tokens: list[Token], start: int) -> list[int]:
    rest: list[int] = []
    for at in range(start, len(tokens)):
        rest.append(at)
        if tokens[at].ends_clause:
            break
    return rest


def _surprise(tokens: list[Token], position: int, expected: float) -> tuple[int, float]:
    """Return the noun of the figure before a comparison, and how far from ``expected`` it is.

    The second is a valence, 0 without a noun or a figure and for what came as expected.
    """
    reported: float | None = None
    for at in range(position - 1, max(position - 7, -1), -1):
        if tokens[at].role in DIRECTION:
            break
        if reported is None:
            reported = tokens[at].number
        elif tokens[at].role in {"goal", "burden"}:
            sign = (reported > expected) - (reported < expected)
            is_burden = tokens[at].role == "burden"
            return at, (-sign if is_burden else sign) * _AGAINST_EXPECTED_STRENGTH
    return position, 0.0


def negate_from_afar(tokens: list[Token], sentiments: list[float]) -> None:
    """Turn a word that a "not" beyond VADER's three words governs within its clause, in place."""
    for position, token in enumerate(tokens):
        if token.lower not in _FAR_NEGATIONS and not token.lower.endswith("n't"):
            continue
        for at in range(position + 1, min(position + 1 + _NEGATION_REACH, len(tokens))):
            if tokens[at].lower in _JOINTS:
                break
            if sentiments[at]:
                if at > position + 3:
                    sentiments[at] *= N_SCALAR
                break
            if tokens[at].ends_clause:
                break


def weigh_clauses(tokens: list[Token], sentiments: list[float]) -> None:
    """Make less of a clause of concession or of what came before, in place.

    Only where a main clause says something: otherwise the clause is all the news there is.
    """
    if _SUBORDINATORS.isdisjoint([token.lower for token in tokens]):
        return
    weights = [1.0] * len(tokens)
    weight = 1.0
    for position, token in enumerate(tokens):
        if token.lower in _CONCESSIONS:
            weight = _CONCESSION_WEIGHT
        elif token.lower in _ANTECEDENTS:
            weight = min(weight, _ANTECEDENT_WEIGHT)
        weights[position] = weight
        if token.ends_clause:
            weight = 1.0
    if any(s and w == 1.0 for s, w in zip(sentiments, weights, strict=True)):
        for position, weight in enumerate(weights):
            sentiments[position] *= weight


def news_weight(text: str) -> float:
    """Return the share of a score that a text deserves: questions and advice tell no news."""
    end = text.rstrip(" \"')")
    if end.endswith("?") and not end.endswith("??") and text.count("?") == 1:
        inner = re.split(r"[.!:]\s", end)
        if len(inner) == 1:
            return _WITHOUT_NEWS_WEIGHT
    return _WITHOUT_NEWS_WEIGHT if _ADVICE.match(text.lower()) else 1.0
