"""Figures of recommendations: what a score or a label said about the returns that followed.

Belongs here: forward returns, the information coefficient, mean returns by label. Does not belong
here: how a score is made (scoring), what a strategy earned with it (performance, trade_figures).

These figures look into the future of a session on purpose: they judge recommendations afterwards
and may enter none.
"""

import math

import numpy as np
import pandas as pd

from quant_assets.domain.performance_curves import ROUNDING, Floats
from quant_assets.domain.scoring_config import LABELS
from quant_assets.errors import BadConfigurationError, BadDataError

COEFFICIENT_FIGURES = (
    "sessions",
    "mean",
    "deviation",
    "information_ratio",
    "t_statistic",
    "t_statistic_overlapping",
)
LABEL_FIGURES = ("count", "mean", "deviation", "t_statistic", "positive_share")
MINIMUM_SYMBOLS = 3
"""Pairs below which a rank correlation says nothing: two are always at +1 or -1."""


def forward_returns(prices: pd.DataFrame, horizon: int, *, delay: int = 1) -> pd.DataFrame:
    """Compute the return of ``horizon`` sessions that a decision of each session could earn.

    prices[t + delay + horizon] / prices[t + delay] - 1. What is decided for a session is traded at
    the next one's open: give opens, adjusted for splits and dividends, and a ``delay`` of 1.
    ``prices`` has one row a session (all of them) and one column a symbol. Returns a frame of the
    same shape, missing where either price is missing or lies beyond the last session.

    Raises BadConfigurationError for a horizon below 1 or a delay below 0, BadDataError for a price
    that is not positive.
    """
    if horizon < 1 or delay < 0:
        raise BadConfigurationError(
            f"a horizon of {horizon} and a delay of {delay} sessions: give 1 or more and 0 or more"
        )
    values = prices.to_numpy(np.float64)
    is_wrong = (values <= 0.0) | np.isinf(values)
    if is_wrong.any():
        session, symbol = np.argwhere(is_wrong)[0]
        raise BadDataError(
            f"the price of {prices.columns[symbol]} in {prices.index[session]:%Y-%m-%d} is "
            f"{values[session, symbol]}: a missing price is left out, never 0"
        )
    return prices.shift(-delay - horizon) / prices.shift(-delay) - 1.0


def information_coefficients(scores: pd.DataFrame, forward: pd.DataFrame) -> pd.Series:
    """Compute Spearman's rank correlation of scores and forward returns, session by session.

    Both have one row a session and one column a symbol and are joined on the common ones; a symbol
    counts in the sessions in which it has both. Equal values share their mean rank (Spearman 1904;
    Grinold and Kahn 1999 for its use). Returns one value a common session, missing with fewer than
    ``MINIMUM_SYMBOLS`` symbols or when all scores or all returns of the session are equal.
    """
    sessions = scores.index.intersection(forward.index)
    symbols = scores.columns.intersection(forward.columns)
    ours = scores.loc[sessions, symbols].astype(np.float64)
    theirs = forward.loc[sessions, symbols].astype(np.float64)
    is_pair = ours.notna() & theirs.notna()
    ranks = [_centred_ranks(values.where(is_pair)) for values in (ours, theirs)]
    products = np.vecdot(ranks[0], ranks[1])
    sizes = np.sqrt(np.vecdot(ranks[0], ranks[0]) * np.vecdot(ranks[1], ranks[1]))
    is_defined = (is_pair.sum(axis=1).to_numpy() >= MINIMUM_SYMBOLS) & (sizes > 0.0)
    values = np.where(is_defined, products / np.where(is_defined, sizes, 1.0), np.nan)
    return pd.Series(values, index=sessions, name="information_coefficient")


def coefficient_figures(coefficients: pd.Series, horizon: int) -> pd.Series:
    """Summarise information coefficients c of n sessions; missing ones are left out.

    - sessions = n; mean = mean(c); deviation = sd(c, ddof 1).
    - information_ratio = mean / deviation (Grinold and Kahn 1999), of one session, not annualised.
    - t_statistic = mean / (deviation / sqrt(n)), which takes the sessions for independent.
    - t_statistic_overlapping: the same with the standard error of Newey and West (1987), lags
      ``horizon`` - 1, weights 1 - lag / horizon: forward returns of several sessions overlap. With
      a horizon of 1 it is t_statistic * sqrt(n / (n - 1)), as that error is made with 1 / n.

    ``horizon`` is that of the forward returns, in sessions. The ratios are missing with fewer than
    two sessions or without deviation. Returns ``COEFFICIENT_FIGURES``. Raises
    BadConfigurationError for a horizon below 1.
    """
    if horizon < 1:
        raise BadConfigurationError(f"a horizon of {horizon} sessions: give 1 or more")
    values = coefficients.dropna().to_numpy(np.float64)
    mean, spread, statistic = _moments(values)
    overlapping = np.nan
    if spread > 0.0:
        overlapping = _over(mean, _overlapping_error(values - mean, horizon))
    figures = (float(len(values)), mean, spread, _over(mean, spread), statistic, overlapping)
    return pd.Series(figures, index=pd.Index(COEFFICIENT_FIGURES), dtype=np.float64)


def values_at(table: pd.DataFrame, rows: pd.DataFrame) -> Floats:
    """Look up rows (session_date, symbol) in a table of sessions by symbols, NaN if not there."""
    session = table.index.get_indexer(pd.DatetimeIndex(rows["session_date"]))
    symbol = table.columns.get_indexer(pd.Index(rows["symbol"]))
    if not table.size:
        return np.full(len(rows), np.nan)
    found = table.to_numpy(np.float64)[session, symbol]
    return np.asarray(np.where((session >= 0) & (symbol >= 0), found, np.nan))


def returns_by_label(recommendations: pd.DataFrame, forward: pd.DataFrame) -> pd.DataFrame:
    """Compute what followed each label, over all sessions and symbols.

    ``recommendations`` has session_date, symbol and label (missing where there is none);
    ``forward`` one row a session and one column a symbol. Recommendations without a forward return
    (too recent, no price) are left out. With r the forward returns of a label: count, mean(r),
    deviation = sd(r, ddof 1), t_statistic = mean / (deviation / sqrt(count)), which takes them for
    independent, and the share with r > 0. Undefined figures are missing.

    Returns one row for each of ``LABELS``, from STRONG_SELL to STRONG_BUY, with ``LABEL_FIGURES``.
    Raises BadDataError for an unknown label.
    """
    labels = recommendations["label"]
    is_unknown = labels.notna() & ~labels.isin(LABELS)
    if is_unknown.any():
        row = recommendations.loc[is_unknown].iloc[0]
        raise BadDataError(
            f"the label of {row['symbol']} in {row['session_date']:%Y-%m-%d} is {row['label']}; "
            f"known are {', '.join(LABELS)}"
        )
    followed = values_at(forward, recommendations)
    rows = []
    for label in LABELS:
        values = followed[(labels == label).to_numpy() & ~np.isnan(followed)]
        mean, spread, statistic = _moments(values)
        share = float((values > 0.0).mean()) if values.size else np.nan
        rows.append((len(values), mean, spread, statistic, share))
    index = pd.Index(LABELS, name="label")
    return pd.DataFrame(rows, index=index, columns=pd.Index(LABEL_FIGURES))


def _centred_ranks(values: pd.DataFrame) -> Floats:
    """Ranks within each session less their mean; 0 for what is missing, so it adds nothing."""
    ranks = values.rank(axis=1, method="average")
    centred = ranks.sub(ranks.mean(axis=1), axis=0)
    return np.asarray(centred.fillna(0.0).to_numpy(np.float64))


def _moments(values: Floats) -> tuple[float, float, float]:
    """Mean, sample deviation (0 where it is rounding) and the t-statistic of the mean."""
    count = len(values)
    mean = float(values.mean()) if count else np.nan
    spread = float(values.std(ddof=1)) if count > 1 else np.nan
    if count > 1 and spread <= ROUNDING * float(np.abs(values).max()):
        spread = 0.0
    return mean, spread, _over(mean * count**0.5, spread)


def _over(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator > 0.0 else np.nan


def _overlapping_error(centred: Floats, horizon: int) -> float:
    """Standard error of a mean under autocorrelation up to ``horizon`` - 1 lags."""
    count = len(centred)
    total = float(centred @ centred)
    for lag in range(1, min(horizon, count)):
        total += 2.0 * (1.0 - lag / horizon) * float(centred[lag:] @ centred[:-lag])
    return math.sqrt(max(total, 0.0)) / count
