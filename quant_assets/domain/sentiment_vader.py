"""VADER's arithmetic. What belongs here: a word's valence in its context, and the compound score.

A fresh implementation of the loop of Hutto and Gilbert (2014) over analysed tokens; with the
valences of VADER's own lexicon it gives VADER's own scores, which a test holds.

What does not belong here: the lexicons (``sentiment_lexicon``), the rules on what moves which way
(``sentiment_rules``).
"""

import math

from vaderSentiment.vaderSentiment import BOOSTER_DICT, C_INCR, N_SCALAR, SPECIAL_CASES

from quant_assets.domain.sentiment_lexicon import Token

_BOOSTER_DAMPING = {1: 1.0, 2: 0.95, 3: 0.9}


def sentiments_in_context(tokens: list[Token], valences: list[float | None]) -> list[float]:
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


def _lower(tokens: list[Token], position: int) -> str:
    return tokens[position].lower if 0 <= position < len(tokens) else ""


def _in_context(tokens: list[Token], position: int, valence: float, is_mixed_case: bool) -> float:
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


def _boost(booster: Token, valence: float, is_mixed_case: bool) -> float:
    boost = -booster.booster if valence < 0 else booster.booster
    if booster.is_upper and is_mixed_case:
        boost += C_INCR if valence > 0 else -C_INCR
    return boost


def _negation(before: Token, distance: int, one: str, two: str, three: str) -> float:
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


def _with_idioms(tokens: list[Token], position: int, valence: float) -> float:
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


def _weigh_around_but(tokens: list[Token], sentiments: list[float]) -> None:
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


def compound(sentiments: list[float], text: str) -> float:
    """Return the sum of the sentiments with the emphasis of ! and ??, squeezed into [-1, 1]."""
    total = sum(sentiments)
    if not total:
        return 0.0
    questions = text.count("?")
    emphasis = min(text.count("!"), 4) * 0.292
    if questions > 1:
        emphasis += questions * 0.18 if questions <= 3 else 0.96
    total += emphasis if total > 0 else -emphasis
    return round(total / math.sqrt(total * total + 15.0), 4)
