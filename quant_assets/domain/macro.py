"""Macro state as known on a day. What belongs here: pure functions of vintages; no I/O, no clock.

Every function sees a value only from the day on which it was published (``realtime_start``) and
replaces it only on the day on which its revision was.
"""

import hashlib
from bisect import bisect_right, insort
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from datetime import date, timedelta

import numpy as np
import pandas as pd

FEATURE_MEMORY_DAYS = 600
"""Observations older than this are not used: 15 months of monthly data and their publication lag.

It is shorter than the look-back of release days (800), so that a day computed alone and a day
computed in a long range know the same observations.
"""


@dataclass(frozen=True)
class RegimeConfig:
    """Thresholds of the stress rules, their points, and the states by points.

    ``sahm_gap`` is the recession signal of C. Sahm (2019): 0.5 percentage points.
    """

    inverted_below: float = 0.0
    high_vix_percentile: float = 0.8
    crisis_vix: float = 30.0
    sahm_gap: float = 0.5
    wide_credit_spread: float = 3.0
    high_inflation: float = 5.0
    minimum_features: int = 3
    states: tuple[tuple[float, str, float], ...] = (
        (0.0, "RISK_ON", 1.0),
        (1.0, "NEUTRAL", 0.85),
        (2.0, "CAUTION", 0.6),
        (float("inf"), "RISK_OFF", 0.3),
    )
    """(most points, state, risk multiplier), ascending."""

    @property
    def version(self) -> str:
        """Hash of the configuration, 8 hex digits."""
        return hashlib.sha256(repr(astuple(self)).encode()).hexdigest()[:8]


def as_known(observations: pd.DataFrame, as_of: date) -> pd.DataFrame:
    """The last value of each (series, observation date) published on or before ``as_of``.

    In: series_id, observation_date, value, realtime_start. Out: the same columns, one row a
    (series, observation date), sorted. A value published as missing stays missing.
    """
    known = observations[observations["realtime_start"] <= pd.Timestamp(as_of)]
    known = known.sort_values(["series_id", "observation_date", "realtime_start"], kind="stable")
    return known.drop_duplicates(["series_id", "observation_date"], keep="last", ignore_index=True)


def macro_regime(
    observations: pd.DataFrame, release_days: Sequence[date], config: RegimeConfig
) -> pd.DataFrame:
    """Features, state and risk multiplier as known at the end of each of ``release_days``.

    In: series_id, observation_date, value, realtime_start. Out: one row a day with the columns
    of ``macro/regime`` but ``available_at``. With fewer than ``minimum_features`` the state is
    NEUTRAL, because ignorance is neither calm nor stress.
    """
    days = sorted(release_days)
    features = {
        name: _over_days(observations, series, days, rule)
        for name, (series, rule) in _FEATURES.items()
    }
    frame = pd.DataFrame({"release_date": pd.to_datetime(days).astype("datetime64[us]")})
    for name, values in features.items():
        frame[name] = values
    frame["n_features"] = frame[list(features)].notna().sum(axis=1).astype("int64")
    frame["stress_points"] = _stress_points(frame, config)
    limits = [limit for limit, _, _ in config.states]
    position = np.searchsorted(limits, frame["stress_points"].to_numpy(), side="left")
    neutral = next(n for n, (_, name, _) in enumerate(config.states) if name == "NEUTRAL")
    unknown = frame["n_features"].to_numpy() < config.minimum_features
    position = np.where(unknown, neutral, position)
    frame["regime"] = [config.states[n][1] for n in position]
    frame["risk_multiplier"] = [config.states[n][2] for n in position]
    frame["regime_version"] = config.version
    return frame


def _stress_points(frame: pd.DataFrame, config: RegimeConfig) -> pd.Series:
    """Sum of the points of the rules that hold; an unknown feature adds nothing."""
    return (
        1.0 * (frame["term_spread"] < config.inverted_below)
        + 0.5 * (frame["vix_percentile"] >= config.high_vix_percentile)
        + 1.0 * (frame["vix"] >= config.crisis_vix)
        + 2.0 * (frame["sahm_gap"] >= config.sahm_gap)
        + 1.0 * (frame["credit_spread"] >= config.wide_credit_spread)
        + 0.5 * (frame["cpi_yoy"] >= config.high_inflation)
    )


Rule = Callable[[list[int], dict[int, float]], float]


def _over_days(
    observations: pd.DataFrame, series_id: str, days: Sequence[date], rule: Rule
) -> np.ndarray:
    """``rule`` on the observations of one series as known on each day, oldest first."""
    rows = observations[observations["series_id"] == series_id].sort_values("realtime_start")
    released = _ordinals(rows["realtime_start"])
    observed = _ordinals(rows["observation_date"])
    values = rows["value"].to_numpy(dtype=float)
    known: dict[int, float] = {}
    order: list[int] = []
    result = np.full(len(days), np.nan)
    position = 0
    for n, day in enumerate(days):
        while position < len(rows) and released[position] <= day.toordinal():
            when = int(observed[position])
            if when not in known:
                insort(order, when)
            known[when] = float(values[position])
            position += 1
        oldest = (day - timedelta(days=FEATURE_MEMORY_DAYS)).toordinal()
        recent = [d for d in order[bisect_right(order, oldest) :] if not np.isnan(known[d])]
        result[n] = rule(recent, known)
    return result


def _ordinals(column: pd.Series) -> np.ndarray:
    epoch = date(1970, 1, 1).toordinal()
    return column.to_numpy().astype("datetime64[D]").astype(int) + epoch


def _last(dates: list[int], known: dict[int, float]) -> float:
    return known[dates[-1]] if dates else float("nan")


def _percentile(dates: list[int], known: dict[int, float]) -> float:
    """Share of the last 252 values not above the last; unknown with fewer than 60."""
    window = np.array([known[d] for d in dates[-252:]])
    return float((window <= window[-1]).mean()) if len(window) >= 60 else float("nan")


def _year_on_year(dates: list[int], known: dict[int, float]) -> float:
    """Per cent against the observation of the same month a year before, if that is in memory."""
    if not dates:
        return float("nan")
    last = date.fromordinal(dates[-1])
    before = last.replace(year=last.year - 1, day=1).toordinal()
    base = known[before] if before in dates else 0.0
    return (known[dates[-1]] / base - 1) * 100 if base else float("nan")


def _sahm_gap(dates: list[int], known: dict[int, float]) -> float:
    """3-month mean less the lowest 3-month mean of the 12 months before.

    Rounded, because rates of one decimal often lie exactly on the threshold, and sums of thirds
    a hair below it.
    """
    if len(dates) < 15:
        return float("nan")
    values = np.array([known[d] for d in dates[-15:]])
    means = np.convolve(values, np.full(3, 1 / 3), mode="valid")
    return round(float(means[-1] - means[:-1].min()), 6)


_FEATURES: dict[str, tuple[str, Rule]] = {
    "term_spread": ("T10Y2Y", _last),
    "vix": ("VIXCLS", _last),
    "vix_percentile": ("VIXCLS", _percentile),
    "cpi_yoy": ("CPIAUCSL", _year_on_year),
    "sahm_gap": ("UNRATE", _sahm_gap),
    "credit_spread": ("BAA10Y", _last),
    "policy_rate": ("FEDFUNDS", _last),
}
