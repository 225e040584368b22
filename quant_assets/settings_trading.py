"""Settings of strategies and of the paper book. What belongs here: their variables and checks."""

import json
from typing import Annotated, Any

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode

from quant_assets.domain.strategy_config import DEFAULT_STRATEGIES, Strategy, strategies_of
from quant_assets.domain.trading_rules import TradingRules
from quant_assets.errors import BadConfigurationError
from quant_assets.markets import MARKETS

INITIAL_CASH = {"us": 1_000_000.0, "kr": 1_000_000_000.0}
"""What a book begins with, in the market's currency."""


class TradingSettings(BaseSettings):
    """What is traded, and by which rules.

    ``QUANT_STRATEGIES`` is a JSON list of strategies, ``QUANT_TRADING`` a JSON object that names,
    for a market, the rules that differ from the defaults.
    """

    strategy_list: Annotated[list[dict[str, Any]], NoDecode] = Field(
        default_factory=list, alias="QUANT_STRATEGIES"
    )
    trading: Annotated[dict[str, dict[str, Any]], NoDecode] = Field(
        default_factory=dict, alias="QUANT_TRADING"
    )

    reports: bool = Field(True, alias="QUANT_REPORTS")
    """Whether a run of paper trading draws the report of the book; its tables are always kept."""

    @field_validator("strategy_list", "trading", mode="before")
    @classmethod
    def _parse_trading_json(cls, value: Any) -> Any:
        try:
            return json.loads(value) if isinstance(value, str) else value
        except ValueError as error:
            raise ValueError(f"not JSON ({error})") from None

    @field_validator("strategy_list")
    @classmethod
    def _strategies_can_be_traded(cls, values: list[dict[str, Any]]) -> list[dict[str, Any]]:
        try:
            if values:
                strategies_of(values)
        except BadConfigurationError as error:
            raise ValueError(str(error)) from None
        return values

    @field_validator("trading")
    @classmethod
    def _rules_can_be_kept(cls, values: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        try:
            if unknown := sorted(set(values) - set(MARKETS)):
                raise BadConfigurationError(
                    f"{unknown[0]!r} is no market: the markets are {', '.join(MARKETS)}"
                )
            for given in values.values():
                TradingRules.from_mapping(given)
        except BadConfigurationError as error:
            raise ValueError(str(error)) from None
        return values

    def strategies(self) -> tuple[Strategy, ...]:
        """The strategies, one of them live."""
        return strategies_of(self.strategy_list) if self.strategy_list else DEFAULT_STRATEGIES

    def trading_values(self, market_key: str) -> dict[str, Any]:
        """Costs and limits of a market that differ from the defaults of ``TradingRules``."""
        return {"initial_cash": INITIAL_CASH[market_key], **self.trading.get(market_key, {})}

    def trading_rules(self, market_key: str) -> TradingRules:
        """Costs and limits of a market's paper book."""
        return TradingRules.from_mapping(self.trading_values(market_key))
