"""The figures of a strategy as a reader meets them. What belongs here: label, unit, explanation.

The definitions with their formulas and sources are those of the ``domain`` functions that compute
them; the explanations here are what fits beside a pointer.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from quant_assets.reports.formats import Unit


@dataclass(frozen=True, slots=True)
class FigureName:
    """One line of the table of figures: column of ``Evaluation.figures``, and its words."""

    name: str
    label: str
    unit: Unit
    meaning: str


def _group(*lines: tuple[str, str, Unit, str]) -> tuple[FigureName, ...]:
    return tuple(FigureName(*line) for line in lines)


RETURN = _group(
    ("sessions", "Sessions", "count", "Sessions with a return."),
    ("total_return", "Total return", "return", "Compounded return of the whole range."),
    (
        "cagr",
        "Annual return",
        "return",
        "Compound annual growth rate (CAGR); a range below a year is extrapolated.",
    ),
    ("best_session", "Best session", "return", "Largest return of one session."),
    ("worst_session", "Worst session", "return", "Smallest return of one session."),
    ("positive_share", "Positive sessions", "percent", "Share of the sessions with a gain."),
)
RISK = _group(
    ("annual_volatility", "Volatility", "percent", "Standard deviation of returns, annualised."),
    (
        "downside_deviation",
        "Downside deviation",
        "percent",
        "Deviation of the returns below the required one (0), over all sessions, annualised.",
    ),
    ("skewness", "Skewness", "ratio", "Below 0: the losses reach further than the gains."),
    ("excess_kurtosis", "Excess kurtosis", "ratio", "Above 0: fatter tails than a normal."),
)
RATIOS = _group(
    ("sharpe_ratio", "Sharpe", "ratio", "Mean return over its deviation, annualised, no rate."),
    (
        "probabilistic_sharpe_ratio",
        "Probability of Sharpe > 0",
        "probability",
        "Probability that the true Sharpe ratio is above 0, by length, skewness and tails.",
    ),
    ("sortino_ratio", "Sortino", "ratio", "Annual mean return over the downside deviation."),
    ("calmar_ratio", "Calmar", "ratio", "Annual return over the maximum drawdown."),
    ("omega_ratio", "Omega", "ratio", "Sum of the gains over the sum of the losses of sessions."),
)
DRAWDOWN = _group(
    ("max_drawdown", "Maximum drawdown", "return", "Deepest fall from a peak of the equity."),
    ("peak_date", "Its peak", "date", "Session of the peak before the maximum drawdown."),
    ("trough_date", "Its trough", "date", "Session of the lowest equity in it."),
    ("recovery_date", "Its recovery", "date", "First session back at the peak; – if not yet."),
    ("drawdown_sessions", "Sessions to trough", "sessions", "Sessions from peak to trough."),
    ("drawdown_days", "Days to trough", "days", "Calendar days from peak to trough."),
    ("recovery_sessions", "Sessions to recover", "sessions", "Sessions from trough to recovery."),
    ("recovery_days", "Days to recover", "days", "Calendar days from trough to recovery."),
    (
        "underwater_sessions",
        "Sessions below peak",
        "sessions",
        "Sessions from the peak to the recovery, or to the last session.",
    ),
    (
        "underwater_days",
        "Days below peak",
        "days",
        "Calendar days from the peak to the recovery, or to the last session.",
    ),
    (
        "longest_underwater_sessions",
        "Longest below a peak",
        "sessions",
        "Longest time below a peak, in sessions, of all drawdowns.",
    ),
)
TAILS = _group(
    (
        "value_at_risk_95",
        "Value at risk, 95%",
        "percent",
        "Loss of one session that 5% of the sessions exceed (historical).",
    ),
    (
        "value_at_risk_99",
        "Value at risk, 99%",
        "percent",
        "Loss of one session that 1% of the sessions exceed (historical).",
    ),
    (
        "expected_shortfall_95",
        "Expected shortfall, 95%",
        "percent",
        "Mean loss of the worst 5% of the sessions.",
    ),
    (
        "expected_shortfall_99",
        "Expected shortfall, 99%",
        "percent",
        "Mean loss of the worst 1% of the sessions.",
    ),
    ("tail_ratio", "Tail ratio", "ratio", "95th percentile of returns over the 5th, absolute."),
)
BENCHMARK = _group(
    ("benchmark_sessions", "Common sessions", "count", "Sessions that both have."),
    ("alpha", "Alpha", "return", "Annual return that the benchmark does not explain (Jensen)."),
    ("beta", "Beta", "ratio", "Change per change of the benchmark."),
    ("tracking_error", "Tracking error", "percent", "Deviation of the difference, annualised."),
    ("information_ratio", "Information ratio", "ratio", "Mean difference over tracking error."),
    ("up_capture", "Up capture", "ratio", "Mean return in the benchmark's gains, by its own."),
    ("down_capture", "Down capture", "ratio", "Mean return in its losses, by its own."),
)
TRADES = _group(
    (
        "round_trips",
        "Round trips",
        "count",
        "Pairs of an opening and a closing fill, first in, first out: an order that filled in "
        "parts makes several.",
    ),
    ("win_rate", "Win rate", "percent", "Share of the round trips with a profit after costs."),
    ("profit_factor", "Profit factor", "ratio", "Sum of the profits over sum of the losses."),
    ("payoff_ratio", "Payoff ratio", "ratio", "Average win over average loss."),
    ("expectancy", "Expectancy", "gain", "Mean profit of a round trip after costs."),
    ("average_win", "Average win", "gain", "Mean profit of the round trips that won."),
    ("average_loss", "Average loss", "gain", "Mean loss of the round trips that lost."),
    ("trade_profit", "Profit of round trips", "gain", "Sum of all round trips after costs."),
    ("holding_sessions", "Holding time, sessions", "sessions", "Mean sessions from in to out."),
    (
        "annual_turnover",
        "Turnover a year",
        "percent",
        "Lesser of bought and sold value over mean equity, a year (as funds report it): a book "
        "that has only bought has none.",
    ),
    ("traded_value", "Traded value", "whole_money", "Shares times price of all fills."),
    ("orders_denied", "Orders denied", "count", "Orders that a limit of the book refused."),
)
COSTS = _group(
    ("fees", "Commission and tax", "money", "Paid on all fills."),
    (
        "slippage",
        "Slippage",
        "money",
        "What fills cost beyond the open of their session; it is in their prices.",
    ),
    ("fees_bps", "In basis points", "bps", "Commission and tax per traded value."),
    ("trade_costs", "Of round trips", "money", "Commission and tax of the closed trades."),
)
FORECAST = _group(
    ("ic_sessions", "Sessions judged", "count", "Sessions with an information coefficient."),
    ("ic_mean", "Mean IC", "coefficient", "Mean rank correlation of scores and what followed."),
    ("ic_deviation", "Deviation of IC", "coefficient", "Its standard deviation across sessions."),
    ("ic_information_ratio", "IC information ratio", "coefficient", "Mean over deviation."),
    ("ic_t_statistic", "t of mean IC", "ratio", "Taking the sessions for independent."),
    (
        "ic_t_statistic_overlapping",
        "t of mean IC, overlapping",
        "ratio",
        "With the standard error of Newey and West: forward returns overlap.",
    ),
)
Groups = Sequence[tuple[str, tuple[FigureName, ...]]]
GROUPS: Groups = (
    ("Return", RETURN),
    ("Risk", RISK),
    ("Ratios", RATIOS),
    ("Drawdown", DRAWDOWN),
    ("Tails, one session", TAILS),
    ("Against the benchmark", BENCHMARK),
    ("Trades", TRADES),
    ("Costs", COSTS),
    ("Forecasting power", FORECAST),
)
OF_RETURNS = 5
"""So many groups, the first ones, rest on returns alone: a benchmark has those figures too."""
