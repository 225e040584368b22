"""Strategies as versioned configuration. What belongs here: their fields and their validation.

Does not belong here: computing what they want (``strategies``), any import of pandas: the settings
check the strategies whenever a process starts.
"""

import importlib.util
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from quant_assets.domain.versioned import demand_fields, version_of
from quant_assets.errors import BadConfigurationError

COMBINED, MOVING_AVERAGE, BUY_AND_HOLD = "combined", "moving_average", "buy_and_hold"
FORECAST, CUSTOM = "forecast", "custom"
KINDS = (COMBINED, MOVING_AVERAGE, BUY_AND_HOLD, FORECAST, CUSTOM)
ORDER_TYPES = ("MARKET", "LIMIT")
AVERAGES = (5, 20, 50, 60, 120, 200)
"""Lengths of the simple averages among the technical indicators."""
_SCORES = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
_LARGEST = 10**6
"""Beyond any threshold, number of names or distance that means something."""
_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    COMBINED: {"enter": 0.15, "exit": 0.0},
    MOVING_AVERAGE: {"enter": 0.01, "exit": -0.01},
    BUY_AND_HOLD: {"enter": 0.5, "exit": -1.0, "names": 0, "use_regime": False, "band": 1.0},
    FORECAST: {"enter": 0.8, "exit": 0.5},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Strategy:
    """A rule that turns scores into target weights.

    A symbol is bought when its score reaches ``enter`` and sold when it falls below ``exit``, so
    that a score that wavers at one level does not trade every day. At most ``names`` symbols are
    held (0: all that have a score), those that are held first and then by score, each with
    ``gross / names`` of the equity, times the risk multiplier of the macro regime if
    ``use_regime``. A weight is changed only by more than ``band`` (a share of the equity).
    Orders are MARKET, or LIMIT ``limit_offset_bps`` on the better side of the close.

    ``kind`` says where the score comes from: ``combined`` (the combined score), ``moving_average``
    (the ``fast`` average over the ``slow`` one, less 1), ``buy_and_hold`` (1 for each symbol),
    ``forecast`` (the rank of the forecast return among the session's, 0 to 1) or ``custom`` (the
    function ``scores``, ``package.module:name``, see ``custom_strategy``).
    Raises ``BadConfigurationError`` naming the field that is wrong.
    """

    id: str
    kind: str
    enter: float
    exit: float
    names: int = 20
    gross: float = 0.98
    use_regime: bool = True
    band: float = 0.01
    order_type: str = "MARKET"
    limit_offset_bps: float = 0.0
    fast: int = 50
    slow: int = 200
    scores: str = ""
    is_live: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be traded."""
        where = f"strategy {self.id!r}"
        if not isinstance(self.id, str) or not _ID.fullmatch(self.id):
            raise BadConfigurationError(
                f"{where}: an id is up to 40 of a-z, 0-9, '-' and '_', a letter or digit first"
            )
        for name, allowed in (("kind", KINDS), ("order_type", ORDER_TYPES)):
            value = getattr(self, name)
            if not isinstance(value, str) or value not in allowed:
                raise BadConfigurationError(
                    f"{where}: {name} is {value!r}; allowed are {', '.join(allowed)}"
                )
        if (self.kind == CUSTOM) != bool(self.scores) or not (
            isinstance(self.scores, str) and (not self.scores or _SCORES.fullmatch(self.scores))
        ):
            raise BadConfigurationError(
                f"{where}: scores is {self.scores!r}: the kind {CUSTOM}, and no other, names a "
                "function, package.module:name"
            )
        for name in ("use_regime", "is_live"):
            if not isinstance(getattr(self, name), bool):
                raise BadConfigurationError(f"{where}: {name} is true or false")
        for name in ("enter", "exit", "gross", "band", "limit_offset_bps", "names", "fast", "slow"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise BadConfigurationError(f"{where}: {name} is {value!r}: give a number")
            if not abs(value) <= _LARGEST:
                raise BadConfigurationError(
                    f"{where}: {name} is not between -{_LARGEST:,} and {_LARGEST:,}"
                )
        self._check_values(where)

    def _check_values(self, where: str) -> None:
        if self.exit > self.enter:
            raise BadConfigurationError(
                f"{where}: exit ({self.exit}) is above enter ({self.enter}): what is bought would "
                "be sold at once"
            )
        if not 0 < self.gross <= 1:
            raise BadConfigurationError(
                f"{where}: gross is {self.gross}: weights are above 0 and sum to 1 at most "
                "(nothing is sold short, nothing bought on credit)"
            )
        if not isinstance(self.names, int) or self.names < 0:
            raise BadConfigurationError(f"{where}: names is {self.names}: give a whole number")
        if self.band < 0 or not 0 <= self.limit_offset_bps < 10_000:
            raise BadConfigurationError(
                f"{where}: band ({self.band}) and limit_offset_bps ({self.limit_offset_bps}) are "
                "from 0 on, the latter below 10000"
            )
        for name in ("fast", "slow"):
            value = getattr(self, name)
            if not isinstance(value, int) or value not in AVERAGES:
                raise BadConfigurationError(
                    f"{where}: {name} is {value}; there are averages of "
                    f"{', '.join(map(str, AVERAGES))} sessions"
                )
        if self.fast >= self.slow:
            raise BadConfigurationError(f"{where}: fast ({self.fast}) is not below slow")

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """Build from configuration; fields not named have the defaults of the kind."""
        prefix = f"strategy {values.get('id', '?')}"
        given = demand_fields(cls, values, prefix)
        for name in ("id", "kind"):
            if name not in given:
                raise BadConfigurationError(f"{prefix}: {name} is missing")
        kind = given["kind"] if isinstance(given["kind"], str) else ""
        return cls(**{**_DEFAULTS.get(kind, {"enter": 0, "exit": 0}), **given})

    @property
    def source(self) -> tuple[object, ...]:
        """What its scores are computed from: strategies of one source have the same scores."""
        if self.kind == MOVING_AVERAGE:
            return (self.kind, self.fast, self.slow)
        return (self.kind, self.scores)

    @property
    def version(self) -> str:
        """First 12 hexadecimal digits of the SHA-256 of what it computes with.

        Of a custom strategy that is also the text of its module: a changed function is another
        strategy.
        """
        values = {k: v for k, v in asdict(self).items() if k not in ("id", "is_live")}
        if self.kind == CUSTOM:
            values["scores"] += _text_of(self.scores.partition(":")[0])
        else:
            del values["scores"]
        return version_of({k: float(v) if isinstance(v, int) else v for k, v in values.items()})


def _text_of(module: str) -> str:
    """Source of a module, empty where there is none: whoever calls it says so."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return ""
    path = Path(spec.origin) if spec is not None and spec.origin else None
    return path.read_text(encoding="utf-8") if path is not None and path.suffix == ".py" else ""


DEFAULT_STRATEGIES: tuple[Strategy, ...] = (
    Strategy.from_mapping({"id": "combined-70-30", "kind": COMBINED, "is_live": True}),
    Strategy.from_mapping({"id": "average-50-200", "kind": MOVING_AVERAGE}),
    Strategy.from_mapping({"id": "buy-and-hold", "kind": BUY_AND_HOLD}),
)
"""The live strategy is the recommendations; the other two are shadows to compare it with."""


def strategies_of(values: Sequence[Mapping[str, Any]]) -> tuple[Strategy, ...]:
    """The strategies of a configuration, in the order of their ids; one of them is live.

    Raises ``BadConfigurationError`` for none, for an id that stands twice and for several live
    ones or none.
    """
    if not values:
        raise BadConfigurationError(
            'no strategy is given: name one, e.g. {"id": "hold", '
            '"kind": "buy_and_hold", "is_live": true}'
        )
    strategies = sorted((Strategy.from_mapping(one) for one in values), key=lambda one: one.id)
    ids = [one.id for one in strategies]
    if twice := sorted({one for one in ids if ids.count(one) > 1}):
        raise BadConfigurationError(f"strategy {twice[0]!r} stands there twice")
    live = [one.id for one in strategies if one.is_live]
    if len(live) != 1:
        raise BadConfigurationError(
            f"{len(live)} strategies are live ({', '.join(live) or 'none'}): exactly one must be"
        )
    return tuple(strategies)
