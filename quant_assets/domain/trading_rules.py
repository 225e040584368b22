"""What trading costs and how much of it is allowed, as versioned objects.

Belongs here: the exchange's ticks, taxes and price limits, the rules of the paper book, their
validation. Does not belong here: any computation with prices, any import of pandas, because the
settings check the rules whenever a process starts.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any, Self, TypeVar

from quant_assets.domain.versioned import demand_fields, version_of
from quant_assets.errors import BadConfigurationError

T = TypeVar("T")

RISK_SESSIONS = 250
"""Sessions before one whose returns its risk rests on."""
RISK_STATES = ("ACTIVE", "REDUCING", "HALTED")
_LARGEST = 10**15
"""Amounts up to here are exact to a tenth of a unit in a float."""
_SHARES = ("max_volume_share", "max_position_weight", "reduce_drawdown", "halt_drawdown")


@dataclass(frozen=True, slots=True)
class Exchange:
    """What one exchange imposes on an order.

    ``ticks`` are (from this price, price step) from the date they began; ``sell_tax_bps`` is the
    tax on the proceeds of a sale from its date on, in basis points. ``cash_decimals`` are those of
    the currency: every cash amount of the book is a multiple of that unit. ``price_limits`` are the
    widest moves from the close before (0.3 is 30 %), if there are any.
    """

    cash_decimals: int
    ticks: tuple[tuple[date, tuple[tuple[float, float], ...]], ...]
    sell_tax_bps: tuple[tuple[date, float], ...] = ()
    price_limits: tuple[tuple[date, float], ...] = ()

    def tick_table(self, session: date) -> tuple[tuple[float, float], ...]:
        """The (from this price, price step) pairs in force in ``session``, ascending."""
        return _in_force(self.ticks, session)

    def widest_move(self, session: date) -> float | None:
        """The widest move from the close before that is allowed in ``session``."""
        return _in_force(self.price_limits, session) if self.price_limits else None

    def tax_bps(self, session: date) -> float:
        """Tax on the proceeds of a sale in ``session``, in basis points."""
        return _in_force(self.sell_tax_bps, session) if self.sell_tax_bps else 0.0


def _in_force(dated: tuple[tuple[date, T], ...], day: date) -> T:
    """The last entry that began by ``day``; before the first one, the first."""
    return next((value for since, value in reversed(dated) if since <= day), dated[0][1])


US_EXCHANGE = Exchange(cash_decimals=2, ticks=((date(2001, 4, 9), ((0.0, 0.0001), (1.0, 0.01))),))
"""Rule 612 of Regulation NMS: a cent from one dollar on. The SEC's fee (0.3 bps of a sale at most)
is far below the slippage and not charged by itself."""
KR_EXCHANGE = Exchange(
    cash_decimals=0,
    ticks=(
        (
            date(2010, 10, 4),
            ((0, 1), (1e3, 5), (5e3, 10), (1e4, 50), (5e4, 100), (1e5, 500), (5e5, 1000)),
        ),
        (
            date(2023, 1, 25),
            ((0, 1), (2e3, 5), (5e3, 10), (2e4, 50), (5e4, 100), (2e5, 500), (5e5, 1000)),
        ),
    ),
    sell_tax_bps=(
        (date(1996, 4, 1), 30.0),
        (date(2019, 5, 30), 25.0),
        (date(2020, 12, 29), 23.0),
        (date(2022, 12, 28), 20.0),
        (date(2023, 12, 27), 18.0),
        (date(2024, 12, 27), 15.0),
        (date(2025, 12, 29), 20.0),
    ),
    price_limits=((date(1998, 12, 7), 0.15), (date(2015, 6, 15), 0.30)),
)
"""KRX price units of KOSPI, its price limits, and the securities transaction tax with its rural
surtax. A rate holds for what settles from 3 June 2019 or a 1 January on: for trades of two sessions
before."""
EXCHANGES: Mapping[str, Exchange] = {"us": US_EXCHANGE, "kr": KR_EXCHANGE}


@dataclass(frozen=True, slots=True)
class TradingRules:
    """Costs and limits of the paper book.

    ``*_bps`` are basis points of an order's value; ``*_weight``, ``max_gross_exposure`` and
    ``max_turnover`` are shares of the equity; drawdowns are falls from the highest equity.
    ``max_volume_share`` is the share of a session's volume that one order may take;
    ``order_sessions`` the sessions an order stays open. From ``reduce_drawdown`` on only exits are
    allowed (REDUCING), from ``halt_drawdown`` on nothing is (HALTED). Raises
    ``BadConfigurationError`` naming the field that is wrong.
    """

    initial_cash: float = 1_000_000.0
    commission_bps: float = 1.0
    minimum_commission: float = 0.0
    slippage_bps: float = 5.0
    max_volume_share: float = 0.05
    order_sessions: int = 5
    max_position_weight: float = 0.25
    max_gross_exposure: float = 1.0
    max_positions: int = 100
    max_turnover: float = 1.0
    reduce_drawdown: float = 0.20
    halt_drawdown: float = 0.35

    def __post_init__(self) -> None:
        """Refuse what is no number, negative costs, limits that contradict each other."""
        for name, value in asdict(self).items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise BadConfigurationError(f"trading.{name} is {value!r}: give a number")
            if not 0 <= value <= _LARGEST:
                raise BadConfigurationError(
                    f"trading.{name} is not between 0 and {_LARGEST:,}: give such a number"
                )
        for name in _SHARES:
            if not 0 < getattr(self, name) <= 1:
                raise BadConfigurationError(
                    f"trading.{name} is {getattr(self, name)}: give a share above 0, at most 1"
                )
        for name in ("initial_cash", "order_sessions", "max_positions", "max_turnover"):
            if getattr(self, name) <= 0:
                raise BadConfigurationError(f"trading.{name} is 0: give more")
        if self.initial_cash < 1:
            raise BadConfigurationError(
                f"trading.initial_cash is {self.initial_cash}: give at least one unit of currency"
            )
        for name in ("order_sessions", "max_positions"):
            if getattr(self, name) != int(getattr(self, name)):
                raise BadConfigurationError(f"trading.{name} is no whole number")
        for name in ("commission_bps", "slippage_bps"):
            if getattr(self, name) >= 10_000:
                raise BadConfigurationError(f"trading.{name} is 100 % or more of the order")
        if self.halt_drawdown < self.reduce_drawdown:
            raise BadConfigurationError(
                f"trading.halt_drawdown ({self.halt_drawdown}) is below trading.reduce_drawdown "
                f"({self.reduce_drawdown}): a book reduces before it halts"
            )

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """Build from configuration; fields not named keep their defaults."""
        return cls(**demand_fields(cls, values, "trading"))

    @property
    def version(self) -> str:
        """First 12 hexadecimal digits of the SHA-256 of all values."""
        return version_of({name: float(value) for name, value in asdict(self).items()})
