"""Sentiment of short financial texts. What belongs here: the shipped scorer, the choice of scores.

A scorer turns texts into numbers in [-1, 1]. The one shipped is VADER (Hutto and Gilbert, 2014)
with a finance word list laid over its lexicon and rules about direction: what rises, falls, is
cut, raised, beaten or missed, and whether that is good for whoever owns the share. Korean texts
are scored by a Korean word list with rules of their own.

What does not belong here: the words (``sentiment_lexicon``), the rules (``sentiment_vader``,
``sentiment_rules``, ``sentiment_korean``), trained models (``sentiment_model``), which articles
speak of which symbol (``tickers``), articles and their aggregation (``articles``), vendors.
"""

import hashlib
import re
from collections.abc import Sequence
from functools import cache
from importlib import metadata, resources
from typing import Protocol

import numpy as np
import numpy.typing as npt

from quant_assets.domain.sentiment_korean import WORD_LIST as KOREAN_WORD_LIST
from quant_assets.domain.sentiment_korean import KoreanLexicon
from quant_assets.domain.sentiment_lexicon import WORD_LIST, Lexicon, word_list_bytes
from quant_assets.domain.sentiment_rules import (
    negate_from_afar,
    news_weight,
    weigh_clauses,
    with_directions,
)
from quant_assets.domain.sentiment_vader import compound, sentiments_in_context

FloatArray = npt.NDArray[np.float64]

RULE_MODULES = (
    "sentiment",
    "sentiment_korean",
    "sentiment_lexicon",
    "sentiment_rules",
    "sentiment_vader",
)
"""Modules whose source makes up the rules' part of the version."""
_HANGUL = re.compile(r"[가-힣]")
_LATIN = re.compile(r"[A-Za-z]")
_KOREAN_SHARE = 0.25


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


class FinanceVader:
    """VADER with finance words and rules; with ``finance=False`` exactly VADER's compound score."""

    def __init__(self, *, finance: bool = True) -> None:
        self._finance = finance
        self._lexicon = Lexicon(finance=finance)
        self._korean = KoreanLexicon() if finance else None
        self.name = "finance_vader" if finance else "vader"
        self.version = f"vader-{metadata.version('vaderSentiment')}"
        if finance:
            rules, words = _digests()
            self.version += f"+rules-{rules[:8]}+words-{words[:12]}"

    def score(self, texts: Sequence[str]) -> FloatArray:
        """Return the score of each text in [-1, 1], rounded to 4 decimals as VADER does."""
        return np.fromiter((self._score(text) for text in texts), np.float64, count=len(texts))

    def _score(self, text: str) -> float:
        if not text.isascii():
            if self._korean is not None and is_korean(text):
                return self._korean.score(text)
            text = self._lexicon.plain(text)
        tokens = self._lexicon.tokens(text)
        if not self._finance:
            valences = [token.valence for token in tokens]
            return compound(sentiments_in_context(tokens, valences), text)
        sentiments = sentiments_in_context(tokens, with_directions(tokens))
        if not any(sentiments):
            return 0.0
        negate_from_afar(tokens, sentiments)
        weigh_clauses(tokens, sentiments)
        return round(compound(sentiments, text) * news_weight(text), 4)


def is_korean(text: str) -> bool:
    """Tell whether at least a quarter of a text's letters are Hangul syllables."""
    hangul = len(_HANGUL.findall(text))
    return hangul > 0 and hangul >= _KOREAN_SHARE * (hangul + len(_LATIN.findall(text)))


@cache
def _digests() -> tuple[str, str]:
    """Return the SHA-256 of the rules' sources and of the word lists."""
    sources = [rule_source(module) for module in RULE_MODULES]
    lists = [word_list_bytes(name) for name in (WORD_LIST, KOREAN_WORD_LIST)]
    return digest_of(sources), digest_of(lists)


def rule_source(module: str) -> bytes:
    """Return the source of a module of rules: a constant changed in it is another version."""
    return (resources.files("quant_assets.domain") / f"{module}.py").read_bytes()


def digest_of(contents: Sequence[bytes]) -> str:
    """Return the SHA-256 of several contents, however the lines of a checkout end."""
    digest = hashlib.sha256()
    for content in contents:
        lines = content.replace(b"\r\n", b"\n")
        digest.update(len(lines).to_bytes(8, "big") + lines)
    return digest.hexdigest()


def select_score(provider_score: npt.ArrayLike, text_score: npt.ArrayLike) -> FloatArray:
    """Return the provider's own score where there is one (not null), else ours, within [-1, 1]."""
    provider = np.asarray(provider_score, dtype=np.float64)
    text = np.asarray(text_score, dtype=np.float64)
    return np.clip(np.where(np.isnan(provider), text, provider), -1.0, 1.0)
