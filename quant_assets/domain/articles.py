"""News articles as data. What belongs here: their scores and daily aggregates.

``score_articles`` turns articles into one row an article and symbol, ``aggregate_sentiment``
turns those into one row a session and symbol.

What does not belong here: what makes two articles one (``article_identity``), the rules of
sentiment (``sentiment``) and of recognition (``tickers``), fetching and parsing of feeds
(``vendors``), the windows of sessions (``markets``).
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from quant_assets.domain.article_identity import near_titles, title_key
from quant_assets.domain.sentiment import Scorer, select_score
from quant_assets.domain.tickers import TickerRecognizer
from quant_assets.errors import BadDataError

TITLE_RELEVANCE = 1.0
SUMMARY_RELEVANCE = 0.5
PROVIDER_SCORER = "provider"
PROVIDER_SCORER_VERSION = "as-received"
SUMMARY_WEIGHT = 0.5
NEAR_WITHIN = np.timedelta64(48, "h")
"""Nearly equal headlines further apart than this are two pieces of news."""

_SCORE_COLUMNS = (
    "hour",
    "article_id",
    "symbol",
    "relevance",
    "score",
    "scorer",
    "scorer_version",
    "published_at",
    "available_at",
    "title_key",
)


class _ProviderScore(NamedTuple):
    """A provider's figures for one symbol; NaN where it gave none."""

    relevance: float
    score: float


_NO_FIGURES = _ProviderScore(np.nan, np.nan)


def score_articles(
    articles: pd.DataFrame, recognizer: TickerRecognizer, scorer: Scorer
) -> pd.DataFrame:
    """Score articles for every symbol of the universe that they concern.

    In: ``hour``, ``article_id``, ``title``, ``summary``, ``published_at``, ``available_at``,
    ``tickers`` (JSON list of text), ``provider_sentiment`` (JSON list of objects with ``symbol``,
    ``relevance``, ``score``; the numbers may be null or text). Null and empty JSON mean none.

    Out: one row an article and symbol, sorted by hour, article_id, symbol, with ``relevance``
    0..1 (the provider's where given, else 1 for a mention in the title, 0.5 for one in the
    summary or a provider's bare ticker), ``score`` -1..1 (the provider's where given, else the
    scorer's: the mean of title and summary), ``scorer`` and ``scorer_version`` that made the
    score, the times, and ``title_key``. Raises ``BadDataError`` for unreadable JSON.
    """
    titles = articles["title"].fillna("").tolist()
    summaries = articles["summary"].fillna("").tolist()
    rows: list[tuple[int, str, float, float]] = []
    for position, (identity, title, summary, listed, provided) in enumerate(
        zip(
            articles["article_id"],
            titles,
            summaries,
            articles["tickers"],
            articles["provider_sentiment"],
            strict=True,
        )
    ):
        figures = _provided(provided, identity, recognizer)
        relevance = _relevance(
            title, summary, _listed(listed, identity, recognizer), figures, recognizer
        )
        rows.extend(
            (
                position,
                symbol,
                relevance[symbol],
                figures.get(symbol, _NO_FIGURES).score,
            )
            for symbol in sorted(relevance)
        )
    positions = np.array([row[0] for row in rows], dtype=np.intp)
    provider = np.array([row[3] for row in rows], dtype=np.float64)
    text = _text_scores(titles, summaries, np.unique(positions), scorer)[positions]
    is_provider = ~np.isnan(provider)
    keys = {position: title_key(titles[position]) for position in np.unique(positions)}
    scores = articles[["hour", "article_id", "published_at", "available_at"]].iloc[positions]
    scores = scores.assign(
        symbol=pd.array([row[1] for row in rows], dtype="str"),
        relevance=np.array([row[2] for row in rows], dtype=np.float64),
        score=select_score(provider, text),
        scorer=pd.array(np.where(is_provider, PROVIDER_SCORER, scorer.name), dtype="str"),
        scorer_version=pd.array(
            np.where(is_provider, PROVIDER_SCORER_VERSION, scorer.version), dtype="str"
        ),
        title_key=pd.array([keys[position] for position in positions], dtype="str"),
    )
    ordered = scores.sort_values(["hour", "article_id", "symbol"], ignore_index=True)
    return ordered[list(_SCORE_COLUMNS)]


def _text_scores(
    titles: Sequence[str],
    summaries: Sequence[str],
    positions: npt.NDArray[np.intp],
    scorer: Scorer,
) -> npt.NDArray[np.float64]:
    """Score the articles at ``positions``; the others, which concern nobody, stay null."""
    scores = np.full(len(titles), np.nan)
    from_title = scorer.score([titles[position] for position in positions])
    from_summary = scorer.score([summaries[position] for position in positions])
    has_summary = np.array([bool(summaries[position].strip()) for position in positions], bool)
    weight = np.where(has_summary, SUMMARY_WEIGHT, 0.0)
    scores[positions] = (1.0 - weight) * from_title + weight * from_summary
    return scores


def _relevance(
    title: str,
    summary: str,
    listed: Iterable[str],
    figures: dict[str, _ProviderScore],
    recognizer: TickerRecognizer,
) -> dict[str, float]:
    """Return the symbols of one article, from its provider and its words, with their relevance."""
    relevance = dict.fromkeys([*listed, *figures], SUMMARY_RELEVANCE)
    relevance |= {mention.symbol: SUMMARY_RELEVANCE for mention in recognizer.find(summary)}
    relevance |= {mention.symbol: TITLE_RELEVANCE for mention in recognizer.find(title)}
    return relevance | {
        symbol: figure.relevance
        for symbol, figure in figures.items()
        if not np.isnan(figure.relevance)
    }


def _listed(tickers: Any, identity: str, recognizer: TickerRecognizer) -> list[str]:
    found = (recognizer.canonical(str(t)) for t in _json_list(tickers, identity, "tickers"))
    return [symbol for symbol in found if symbol is not None]


def _provided(
    provider_sentiment: Any, identity: str, recognizer: TickerRecognizer
) -> dict[str, _ProviderScore]:
    """Return the provider's figures by symbol; of two share classes, the more relevant one's."""
    provided: dict[str, _ProviderScore] = {}
    for entry in _json_list(provider_sentiment, identity, "provider_sentiment"):
        try:
            symbol = recognizer.canonical(str(entry["symbol"]))
            figures = _ProviderScore(
                _figure(entry.get("relevance"), 0.0), _figure(entry.get("score"), -1.0)
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BadDataError(
                f"article {identity}: provider_sentiment entry {entry!r} needs symbol, relevance "
                "and score, the last two numbers or null: quarantine the article"
            ) from error
        if symbol is None:
            continue
        other = provided.get(symbol)
        if other is None or np.nan_to_num(figures.relevance) > np.nan_to_num(other.relevance):
            provided[symbol] = figures
    return provided


def _figure(value: float | str | None, lowest: float) -> float:
    return np.nan if value is None else min(max(float(value), lowest), 1.0)


def _json_list(value: Any, identity: str, column: str) -> list[Any]:
    if not isinstance(value, str) or not value.strip():
        return []
    try:
        parsed = json.loads(value)
    except json.JSONDecodeError as error:
        raise BadDataError(
            f"article {identity}: {column} is not JSON ({error}): quarantine the article"
        ) from error
    if parsed is None:
        return []
    if not isinstance(parsed, list):
        raise BadDataError(f"article {identity}: {column} is not a JSON list: quarantine it")
    return parsed


def aggregate_sentiment(
    scores: pd.DataFrame,
    windows: pd.DataFrame,
    symbols: list[str],
    *,
    half_life_hours: float = 48.0,
) -> pd.DataFrame:
    """Return the weighted mean sentiment of every session and symbol.

    ``scores`` has the columns that ``score_articles`` returns; ``windows`` one row a session with
    ``session_date``, ``window_start``, ``session_open``, ``decision_at`` (UTC),
    ``hours_expected`` and ``hours_missing``. An article counts if window_start <= available_at
    < decision_at, with weight relevance x 0.5^(age / half-life), where age runs from publication
    to the decision and is not negative. Of rows of one symbol with the same article_id, the same
    title_key or nearly the same one within ``NEAR_WITHIN``, the first available counts.

    Out, sorted by session_date and symbol: ``sentiment_score`` (rounded to 6 decimals, 0 without
    news), ``n_articles``, ``status``: UNAVAILABLE (no hours expected, or more than half of them
    missing; score null), NO_NEWS, STALE (nothing since the session opened), OK. Each session is
    computed by itself, so that a range equals its sessions one by one.
    """
    names = sorted(set(symbols))
    ordered = _ordered(scores, names)
    available = _instants(ordered["available_at"])
    published = _instants(ordered["published_at"])
    codes = _Codes(
        symbol=pd.Index(names).get_indexer(pd.Index(ordered["symbol"])).astype(np.int64),
        article=pd.factorize(ordered["article_id"])[0].astype(np.int64),
        title=_title_codes(ordered["title_key"]),
    )
    near = _near_repeats(codes, ordered["title_key"], published)
    weighted = (
        ordered["relevance"].to_numpy(np.float64),
        ordered["score"].to_numpy(np.float64),
    )
    start, opened, decision = (
        _instants(windows[column]) for column in ("window_start", "session_open", "decision_at")
    )
    first = np.searchsorted(available, start, side="left")
    behind = np.searchsorted(available, decision, side="left")
    shape = (len(windows), len(names))
    mean, count, fresh = (
        np.zeros(shape),
        np.zeros(shape, np.int64),
        np.zeros(shape, np.int64),
    )
    for row in range(len(windows)):
        window = slice(first[row], max(first[row], behind[row]))
        kept = near.without(first[row] + codes.first_rows(window), window)
        by = codes.symbol[kept]
        age_hours = np.maximum((decision[row] - published[kept]) / np.timedelta64(1, "h"), 0.0)
        weight = weighted[0][kept] * 0.5 ** (age_hours / half_life_hours)
        total = np.bincount(by, weight, len(names))
        product = np.bincount(by, weight * weighted[1][kept], len(names))
        mean[row] = np.divide(product, total, out=np.zeros(len(names)), where=total > 0)
        count[row] = np.bincount(by, minlength=len(names))
        fresh[row] = np.bincount(by[available[kept] >= opened[row]], minlength=len(names))
    return _sessions(windows, names, mean, count, fresh)


class _Codes(NamedTuple):
    """Integer codes of symbol, article and title of every row, in order of availability."""

    symbol: npt.NDArray[np.int64]
    article: npt.NDArray[np.int64]
    title: npt.NDArray[np.int64]

    def first_rows(self, window: slice) -> npt.NDArray[np.intp]:
        """Return the rows of a window, counted from its start, that repeat none before them."""
        symbol, article, title = (
            self.symbol[window],
            self.article[window],
            self.title[window],
        )
        kept = _first_of_each(symbol * (article.max(initial=0) + 1) + article)
        return kept[_first_of_each(symbol[kept] * (title.max(initial=0) + 1) + title[kept])]


class _NearRepeats(NamedTuple):
    """Pairs of rows of one symbol with nearly equal headlines; ``later`` is ascending."""

    earlier: npt.NDArray[np.intp]
    later: npt.NDArray[np.intp]

    def without(self, kept: npt.NDArray[np.intp], window: slice) -> npt.NDArray[np.intp]:
        """Return the kept rows that nearly repeat no row before them in the window."""
        low, high = np.searchsorted(self.later, (window.start, window.stop))
        inside = slice(int(low), int(high))
        repeats = self.later[inside][self.earlier[inside] >= window.start]
        return kept if len(repeats) == 0 else np.setdiff1d(kept, repeats)


def _near_repeats(
    codes: "_Codes", keys: pd.Series, published: npt.NDArray[np.datetime64]
) -> _NearRepeats:
    """Return the near repeats of all rows.

    Whether a pair is one depends on its two rows alone, so that a session computed in a range
    equals the session computed by itself.
    """
    titles, first_rows = np.unique(codes.title, return_index=True)
    texts = keys.to_numpy()[first_rows].tolist()
    pairs = list(near_titles(texts))
    if not pairs:
        nothing = np.empty(0, np.intp)
        return _NearRepeats(nothing, nothing)
    in_pairs = np.flatnonzero(np.isin(codes.title, titles[np.unique(np.array(pairs))]))
    by_title = in_pairs[np.argsort(codes.title[in_pairs], kind="stable")]
    sorted_titles = codes.title[by_title]
    bounds = {
        int(title): by_title[slice(*np.searchsorted(sorted_titles, (title, title + 1)))]
        for title in np.unique(sorted_titles)
    }
    found = []
    for one, other in pairs:
        rows, others = bounds[int(titles[one])][:, None], bounds[int(titles[other])][None, :]
        is_near = np.abs(published[rows] - published[others]) <= NEAR_WITHIN
        a, b = np.nonzero((codes.symbol[rows] == codes.symbol[others]) & is_near)
        found.append(np.column_stack([rows[a, 0], others[0, b]]))
    table = np.sort(np.concatenate(found), axis=1)
    table = table[np.argsort(table[:, 1], kind="stable")]
    return _NearRepeats(table[:, 0], table[:, 1])


def _first_of_each(keys: npt.NDArray[np.int64]) -> npt.NDArray[np.intp]:
    return np.sort(np.unique(keys, return_index=True)[1])


def _title_codes(keys: pd.Series) -> npt.NDArray[np.int64]:
    """Return a code a title; an empty key is like no other, not like every empty one."""
    codes, titles = pd.factorize(keys)
    unknown = (keys == "").to_numpy()
    return np.where(unknown, len(titles) + np.arange(len(keys)), codes).astype(np.int64)


def _ordered(scores: pd.DataFrame, symbols: list[str]) -> pd.DataFrame:
    """Return the rows of the symbols by availability, in an order that depends on values only."""
    rows = scores[scores["symbol"].isin(symbols)]
    needed = [
        "published_at",
        "available_at",
        "relevance",
        "score",
        "article_id",
        "title_key",
    ]
    incomplete = rows[needed].isna().any(axis=1)
    if incomplete.any():
        broken = rows[incomplete].iloc[0]
        raise BadDataError(
            f"article {broken['article_id']} of {broken['symbol']} has null values: "
            f"{broken[needed].isna().loc[lambda is_null: is_null].index.tolist()}; "
            "materialize its hour of article_sentiment again"
        )
    return rows.sort_values(
        [
            "available_at",
            "published_at",
            "article_id",
            "title_key",
            "symbol",
            "relevance",
            "score",
        ],
        ignore_index=True,
    )


def _instants(column: pd.Series) -> npt.NDArray[np.datetime64]:
    return pd.to_datetime(column, utc=True).dt.tz_convert(None).to_numpy("datetime64[us]")


def _sessions(
    windows: pd.DataFrame,
    names: list[str],
    mean: npt.NDArray[np.float64],
    count: npt.NDArray[np.int64],
    fresh: npt.NDArray[np.int64],
) -> pd.DataFrame:
    expected = windows["hours_expected"].to_numpy(np.float64)
    missing = windows["hours_missing"].to_numpy(np.float64)
    is_unavailable = np.repeat((expected == 0) | (missing > expected / 2), len(names))
    n_articles, n_fresh = count.ravel(), fresh.ravel()
    status = np.select(
        [is_unavailable, n_articles == 0, n_fresh == 0],
        ["UNAVAILABLE", "NO_NEWS", "STALE"],
        default="OK",
    )
    sessions = pd.DataFrame(
        {
            "session_date": np.repeat(windows["session_date"].to_numpy(), len(names)),
            "symbol": pd.array(names * len(windows), dtype="str"),
            "sentiment_score": np.where(is_unavailable, np.nan, mean.ravel().round(6) + 0.0),
            "n_articles": n_articles,
            "status": pd.array(status, dtype="str"),
        }
    )
    return sessions.sort_values(["session_date", "symbol"], ignore_index=True)
