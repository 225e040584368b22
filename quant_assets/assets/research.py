"""Backtests. What belongs here: the asset that runs one by its run config.

It computes with the functions of the paper book, on stored partitions, and keeps what comes out in
the results: tables, and the same report as the paper book's.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from quant_assets import naming
from quant_assets.assets.common import markdown_table
from quant_assets.assets.performance import keep_results, performance_facts
from quant_assets.domain.strategy_config import COMBINED, CUSTOM, FORECAST, Strategy, strategies_of
from quant_assets.domain.trading_rules import TradingRules
from quant_assets.domain.versioned import version_of
from quant_assets.errors import BadConfigurationError, MissingPartitionError
from quant_assets.markets import MARKETS, Listing, Market
from quant_assets.partitions import REGIME_SESSIONS
from quant_assets.policies import typed_failures
from quant_assets.resources import ClockResource, SettingsResource, StoreResource
from quant_assets.schemas import dataset_of

if TYPE_CHECKING:
    import pandas as pd

    from quant_assets.domain.signals import Inputs, Listed
    from quant_assets.io_managers.parquet_store import ParquetStore
    from quant_assets.settings import Settings

SHOWN_VARIANTS = 20
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
LAST = "last"
"""What `quant report --backtest` calls the newest one."""


class BacktestConfig(dg.Config):
    """What is tested, over which sessions."""

    market: str = Field("us", description="us or kr.")
    first: str = Field(description="First session, YYYY-MM-DD; the next one if it is a closure.")
    last: str = Field(description="Last session, YYYY-MM-DD; the one before if it is a closure.")
    symbols: list[str] = Field([], description="Symbols of the universe; empty: all.")
    strategies: list[dict[str, Any]] = Field(
        [], description="Strategies as in QUANT_STRATEGIES; empty: those of the settings."
    )
    rules: dict[str, Any] = Field(
        {}, description="Costs and limits that differ from the settings, as in QUANT_TRADING."
    )
    grid: dict[str, Any] = Field(
        {}, description='Lists of values to vary the live strategy by, {"enter": [0.1, 0.2]}.'
    )
    name: str = Field("", description="Name of the results; empty: sessions and a hash.")


def build_research() -> dg.AssetsDefinition:
    """The asset of backtests."""

    @dg.asset(
        key=["research", "backtest"],
        deps=[[market, name] for market in MARKETS for name in naming.BACKTEST_INPUTS],
        group_name=naming.GROUP_RESEARCH,
        description=(
            "What strategies would have done: any sessions, symbols, strategies and costs by run "
            "config, a grid of parameters at once, with the paper book's own functions."
        ),
        kinds={"python", "html"},
        owners=[naming.OWNER],
        code_version="1",
    )
    def backtest(
        config: BacktestConfig,
        platform: SettingsResource,
        store: StoreResource,
        clock: ClockResource,
    ) -> Any:
        with typed_failures():
            facts = run_backtest(config, platform.settings(), store.open(), clock.now())
            return dg.MaterializeResult(metadata=facts)

    return backtest


@dataclass(frozen=True)
class Asked:
    """What a run config asks for, with everything in it looked at before anything is read."""

    market: Market
    days: list[date]
    strategies: tuple[Strategy, ...]
    variants: tuple[Strategy, ...]
    rules: TradingRules
    listings: "tuple[Listing, ...]"
    name: str

    @classmethod
    def of(cls, config: BacktestConfig, settings: "Settings") -> "Asked":
        """Raises ``BadConfigurationError`` naming the field that is wrong."""
        from quant_assets.domain.backtest import variants

        market = _market(config)
        days = _sessions(config, market)
        strategies = (
            strategies_of(config.strategies) if config.strategies else settings.strategies()
        )
        base = next(one for one in strategies if one.is_live)
        varied = variants(base, config.grid) if config.grid else ()
        rules = TradingRules.from_mapping(settings.trading_values(market.key) | config.rules)
        listings = _listings(settings.universe(market.key), config.symbols)
        name = _checked_name(config.name) or backtest_name(
            config, strategies, rules, days, listings
        )
        return cls(market, days, strategies, varied, rules, listings, name)


def run_backtest(
    config: BacktestConfig, settings: "Settings", store: "ParquetStore", now: datetime
) -> dict[str, Any]:
    """Run a backtest and keep its results; the metadata of its materialization.

    Raises ``BadConfigurationError`` naming the field that is wrong, ``MissingPartitionError``
    naming what is not stored.
    """
    from dataclasses import replace

    from quant_assets.domain.backtest import Backtest, benchmark_of
    from quant_assets.domain.evaluation import Records, evaluate
    from quant_assets.reports.page import Variants

    asked = Asked.of(config, settings)
    market = asked.market
    inputs = load_inputs(store, asked)
    test = Backtest(market.key, asked.strategies, asked.rules)
    signals, ledger = test.run(inputs)
    benchmark = benchmark_of(inputs)
    found = evaluate(
        Records(
            market=market.key,
            strategies=asked.strategies,
            ledger=ledger,
            signals=signals,
            recommendations=inputs.recommendations,
            prices=inputs.prices,
            benchmark=benchmark,
        )
    )
    tables = {"ledger": ledger, "signals": signals}
    facts: dict[str, Any] = {}
    if asked.variants:
        many = replace(test, strategies=asked.variants).run_grid(inputs)
        ranked = many.figures(benchmark, list(config.grid)).rename_axis("strategy_id")
        tables["grid"] = ranked
        facts["grid"] = _grid_table(ranked, list(config.grid))
    folder = settings.results_dir / market.key / "backtests" / asked.name
    keep_results(
        folder,
        found,
        f"{market.name}, backtest {asked.name}",
        now,
        settings.profile,
        facts={
            **config.model_dump(),
            "kind": "backtest",
            "rules_version": asked.rules.version,
        },
        variants=Variants(tables["grid"], list(config.grid)) if asked.variants else None,
        more=tables,
    )
    return {**performance_facts(found, folder), **facts, "name": asked.name}


def load_inputs(store: "ParquetStore", asked: Asked) -> "Inputs":
    """What a backtest rests on, as stored; only what a strategy or a variant needs."""
    from quant_assets.domain.signals import Inputs

    market, days, listings = asked.market, asked.days, asked.listings
    names = {one.symbol for one in listings}
    keys = [day.isoformat() for day in days]
    kinds = {one.kind for one in (*asked.strategies, *asked.variants)}
    is_custom = CUSTOM in kinds

    def rows(name: str, *, is_needed: bool = True) -> "pd.DataFrame":
        asset = f"{market.key}/{name}"
        wanted = keys if is_needed else []
        try:
            return store.read(dataset_of(asset), asset, wanted, only={"symbol": names})
        except MissingPartitionError as error:
            raise MissingPartitionError(
                f"{error}: `quant run --market {market.key} --from {keys[0]} --to {keys[-1]}`"
            ) from None

    first = market.offset_session(days[0], -REGIME_SESSIONS).isoformat()
    regime = [key for key in store.list_partitions("macro/regime") if first <= key <= keys[-1]]
    return Inputs(
        recommendations=rows("recommendations", is_needed=is_custom or COMBINED in kinds),
        indicators=rows("technical_indicators", is_needed=bool(kinds - {COMBINED, FORECAST})),
        prices=rows("prices"),
        regime=store.read(dataset_of("macro/regime"), "macro/regime", regime),
        decision_times={day: market.decision_at(day) for day in days},
        listings=listings,
        forecasts=_forecasts(store, market, keys if FORECAST in kinds else [], names),
    )


def _forecasts(
    store: "ParquetStore", market: Market, keys: list[str], symbols: set[str]
) -> "pd.DataFrame":
    """Forecasts that are stored: sessions without any leave a strategy without an opinion."""
    asset = f"{market.key}/return_forecast"
    return store.load(dataset_of(asset), asset, keys, only={"symbol": symbols}).frame


def backtest_name(
    config: BacktestConfig,
    strategies: tuple[Strategy, ...],
    rules: TradingRules,
    days: list[date],
    listings: "Sequence[Listed]",
) -> str:
    """Name of a backtest's results: the same question has the same name."""
    asked = {
        "strategies": [(one.id, one.version) for one in strategies],
        "rules": rules.version,
        "symbols": [one.symbol for one in listings],
        "grid": config.grid,
    }
    return f"{days[0]}.{days[-1]}.{version_of({'asked': json.dumps(asked, sort_keys=True)})[:8]}"


def _grid_table(varied: "pd.DataFrame", names: list[str]) -> dg.MarkdownMetadataValue:
    """The best variants."""
    shown = [
        *names,
        "sharpe_ratio",
        "deflated_sharpe_ratio",
        "total_return",
        "max_drawdown",
        "fees",
    ]
    best = varied.head(SHOWN_VARIANTS)[shown]
    rows = [[name, *values] for name, values in zip(best.index, best.values.tolist(), strict=True)]
    return markdown_table(["variant", *shown], rows)


def _checked_name(name: str) -> str:
    if name == LAST:
        raise BadConfigurationError(f"name is {LAST!r}, which stands for the last backtest")
    if name and not _NAME.fullmatch(name):
        raise BadConfigurationError(
            f"name is {name!r}: it becomes a folder's name, up to 80 of letters, digits, '.', '_' "
            "and '-', a letter or digit first"
        )
    return name


def _market(config: BacktestConfig) -> Market:
    try:
        return MARKETS[config.market]
    except KeyError:
        raise BadConfigurationError(
            f"market is {config.market!r}; the markets are {', '.join(MARKETS)}"
        ) from None


def _sessions(config: BacktestConfig, market: Market) -> list[date]:
    ends = []
    for name in ("first", "last"):
        text = getattr(config, name)
        try:
            ends.append(date.fromisoformat(text))
        except ValueError:
            raise BadConfigurationError(f"{name} is {text!r}: give a date, YYYY-MM-DD") from None
    days = market.sessions(ends[0], ends[1])
    if len(days) < 2:
        raise BadConfigurationError(
            f"from {ends[0]} to {ends[1]} {market.name} has {len(days)} session(s): a backtest "
            "needs two at least"
        )
    return days


def _listings(universe: "tuple[Listing, ...]", symbols: list[str]) -> "tuple[Listing, ...]":
    if not symbols:
        return universe
    known = {one.symbol for one in universe}
    if unknown := sorted(set(symbols) - known):
        raise BadConfigurationError(
            f"{unknown[0]} is not in the universe: only symbols with stored prices can be tested"
        )
    return tuple(one for one in universe if one.symbol in set(symbols))
