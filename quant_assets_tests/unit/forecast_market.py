"""A market for tests of the forecast, made from a seed. What belongs here: no tests.

Indicators, scores and news are noise; in a planted market one of them, ``roc_20``, drives the
returns that follow.
"""

from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import numpy as np
import pandas as pd

from quant_assets.domain.forecast import Inputs
from quant_assets.domain.forecast_config import ForecastConfig
from quant_assets.domain.indicator_names import INDICATORS
from quant_assets.domain.scoring import BLOCKS, COMPONENTS
from quant_assets.markets import MARKETS

US = MARKETS["us"]
REGIME_SESSIONS = 3
SMALL = ForecastConfig(
    training_sessions=60,
    fewest_training_sessions=30,
    judged_sessions=70,
    fewest_judged_sessions=30,
)
"""Enough for a test, and quick."""


@dataclass(frozen=True)
class MadeMarket:
    """Rows of the assets that a forecast is made from, of all ``days``."""

    days: list[date]
    frames: dict[str, pd.DataFrame]

    def inputs(self, **changed: pd.DataFrame) -> Inputs:
        """What the forecast is given; ``changed`` frames take the place of others."""
        return Inputs(
            market="us",
            sessions=pd.DatetimeIndex(self.days).as_unit("us"),
            decision_times={day: US.decision_at(day) for day in self.days},
            regime_sessions=REGIME_SESSIONS,
            **{**self.frames, **changed},
        )

    def between(self, first: int, last: int) -> "MadeMarket":
        """The sessions ``first`` to ``last`` alone, both included; what lies outside is gone."""
        ends = pd.Timestamp(self.days[first]), pd.Timestamp(self.days[last])
        frames = {
            name: frame[frame[_day_of(name)].between(*ends)].reset_index(drop=True)
            for name, frame in self.frames.items()
        }
        return replace(self, days=self.days[first : last + 1], frames=frames)

    def altered(self, name: str, first: int, last: int, column: str, seed: int = 0) -> pd.DataFrame:
        """A frame with noise in a column of the sessions ``first`` to ``last``."""
        frame = self.frames[name].copy()
        ends = pd.Timestamp(self.days[first]), pd.Timestamp(self.days[last])
        rows = frame[_day_of(name)].between(*ends)
        noise = np.random.default_rng(seed).uniform(0.5, 2.0, int(rows.sum()))
        frame.loc[rows, column] = frame.loc[rows, column].to_numpy() * noise
        return frame


def _day_of(name: str) -> str:
    return "release_date" if name == "regime" else "session_date"


def made_market(
    seed: int, sessions: int = 160, symbols: int = 10, drive: float = 0.0, last: str = "2024-06-14"
) -> MadeMarket:
    """A market of the sessions up to ``last``; ``drive`` is how much ``roc_20`` moves a day."""
    random = np.random.default_rng(seed)
    end = date.fromisoformat(last)
    days = US.sessions(end.replace(year=end.year - 4), end)[-sessions:]
    shape = (sessions, symbols)
    driver = np.zeros(shape)
    for t in range(sessions):
        driver[t] = 0.95 * driver[max(t - 1, 0)] + random.normal(0, 0.31, symbols)
    steps = random.normal(0, 0.01, shape)
    steps[2:] += drive * driver[:-2]
    split = np.where(random.random(shape) < 0.002, 2.0, 1.0)
    opens = 100 * np.exp(np.cumsum(steps, axis=0)) / np.cumprod(split, axis=0)
    dividend = np.where(random.random(shape) < 0.01, 0.004 * opens, 0.0)
    keys = {
        "session_date": np.repeat(pd.DatetimeIndex(days).as_unit("us"), symbols),
        "symbol": np.tile([f"S{n:02d}" for n in range(symbols)], sessions),
    }
    at = np.repeat(pd.DatetimeIndex([US.complete_at(day) for day in days]), symbols)

    def rows(**columns: Any) -> pd.DataFrame:
        flat = {name: np.asarray(v).ravel() if np.ndim(v) else v for name, v in columns.items()}
        return pd.DataFrame({**keys, **flat, "available_at": at})

    def noise(scale: float = 1.0) -> np.ndarray:
        return random.normal(0, scale, shape)

    values = {one.name: noise() for one in INDICATORS}
    values |= {n: opens * np.exp(noise(0.02)) for n in values if n.startswith(("sma", "ema"))}
    values |= {one.name: random.uniform(0, 100, shape) for one in INDICATORS if one.maximum}
    values |= {n: opens * np.exp(noise(0.02)) for n in values if n in ("bollinger_upper",)}
    values |= {"atr_14": 0.02 * opens, "realised_volatility_20": random.uniform(0.1, 0.4, shape)}
    values |= {"roc_20": 5 * driver, "bollinger_middle": opens}
    scores = {n: np.clip(noise(0.3), -1, 1) for n in ("technical_score", *BLOCKS, *COMPONENTS)}
    decided = np.repeat(pd.DatetimeIndex([US.decision_at(day) for day in days]), symbols)
    frames = {
        "prices": rows(
            open=opens,
            high=opens * 1.01,
            low=opens * 0.99,
            close=opens * np.exp(noise(0.002)).clip(0.995, 1.005),
            volume=random.integers(1000, 100_000, shape),
            dividend=dividend,
            split_ratio=split,
        ),
        "indicators": rows(close=opens, history_bars=500, **values, reason=None),
        "technical": rows(**scores, status="OK", reason=None, scoring_version="1"),
        "sentiment": rows(
            sentiment_score=np.clip(noise(0.3), -1, 1),
            n_articles=random.integers(0, 9, shape),
            status="OK",
            window_start=at,
            decision_at=decided,
            hours_expected=48,
            hours_missing=0,
            scorer_version="1",
        ),
        "regime": _regimes(days, random),
    }
    return MadeMarket(days, frames)


def _regimes(days: list[date], random: np.random.Generator) -> pd.DataFrame:
    """A regime for each calendar day, known six hours after its end."""
    released = pd.date_range(days[0], days[-1]).as_unit("us")
    return pd.DataFrame(
        {
            "release_date": released,
            "risk_multiplier": random.choice([1.0, 0.85, 0.6, 0.3], len(released)),
            "available_at": (released + pd.Timedelta(hours=30)).tz_localize("UTC"),
        }
    )
