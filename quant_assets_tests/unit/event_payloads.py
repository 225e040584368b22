"""Payloads of every kind for tests. What belongs here: one right example and a strategy of each."""

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

from hypothesis import strategies as st

from quant_assets.events import payloads as p

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


def texts(longest: int, shortest: int = 0) -> st.SearchStrategy[str]:
    return st.text(min_size=shortest, max_size=longest)


DATES = st.dates()
OFFSETS = st.integers(-14 * 60, 14 * 60).map(lambda m: timezone(timedelta(minutes=m)))
INSTANTS = st.datetimes(timezones=st.just(UTC) | OFFSETS)
SCORES = st.floats(-1, 1)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
SYMBOLS = texts(24, 1)
MARKETS = texts(8)
URLS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=60).map(
    lambda rest: f"https://{rest}"
)


def maybe(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values


def tuples(values: st.SearchStrategy[Any], longest: int = 5) -> st.SearchStrategy[Any]:
    return st.lists(values, max_size=longest).map(tuple)


ASKING: dict[str, Any] = {"thread_ts": maybe(texts(64)), "channel": maybe(texts(80))}
ANSWERING: dict[str, Any] = {
    **ASKING,
    "request_id": maybe(texts(60)),
    "run_id": maybe(texts(60)),
    "job": maybe(texts(60)),
    "market": maybe(MARKETS),
}
RANGE: dict[str, Any] = {"first": maybe(DATES), "last": maybe(DATES)}
PARTITIONS = st.builds(p.Partitions, first=texts(20), last=texts(20), count=st.integers())
COVERAGE = st.builds(p.Coverage, present=st.integers(), expected=st.integers())
PARTS = st.builds(
    p.AnalysisParts,
    technical=maybe(SCORES),
    sentiment=maybe(SCORES),
    trend=maybe(SCORES),
    momentum=maybe(SCORES),
    reversal=maybe(SCORES),
    articles=maybe(st.integers()),
)
RESULTS = st.builds(
    p.AnalysisResult,
    symbol=SYMBOLS,
    status=texts(20),
    score=maybe(SCORES),
    label=maybe(texts(20)),
    parts=PARTS,
    reason=maybe(texts(40)),
)
BOOK: dict[str, Any] = {"symbol": SYMBOLS, "market": MARKETS, "session": DATES}
ORDER: dict[str, Any] = {
    **BOOK,
    "order_id": texts(40),
    "client_order_id": texts(40),
    "side": texts(8),
    "status": texts(20),
}
STRATEGIES: dict[type[p.Payload], st.SearchStrategy[Any]] = {
    p.EconomicDataSyncRequested: st.builds(
        p.EconomicDataSyncRequested, series_ids=tuples(texts(40, 1)), **RANGE, **ASKING
    ),
    p.StockPriceSyncRequested: st.builds(
        p.StockPriceSyncRequested, market=MARKETS, session=maybe(DATES), **RANGE, **ASKING
    ),
    p.NewsCrawlRequested: st.builds(p.NewsCrawlRequested, hour=maybe(INSTANTS), **ASKING),
    p.AnalysisRequested: st.builds(
        p.AnalysisRequested,
        market=maybe(MARKETS),
        session=maybe(DATES),
        symbols=tuples(SYMBOLS, 30),
        **ASKING,
    ),
    p.CommandRequested: st.builds(
        p.CommandRequested,
        task_type=texts(40),
        params=st.dictionaries(texts(20), JSON_VALUES, max_size=5),
        **ASKING,
    ),
    p.NewsArticleCollected: st.builds(
        p.NewsArticleCollected,
        url=URLS,
        title=texts(100, 1),
        source=texts(40, 1),
        published_at=maybe(INSTANTS),
        summary=texts(300),
        tickers=tuples(SYMBOLS),
    ),
    p.DataUpdated: st.builds(
        p.DataUpdated,
        partitions=PARTITIONS,
        rows=st.integers(),
        coverage=maybe(COVERAGE),
        **ANSWERING,
    ),
    p.Failed: st.builds(
        p.Failed,
        error_type=texts(60),
        message=texts(300),
        step=maybe(texts(60)),
        partitions=maybe(PARTITIONS),
        **ANSWERING,
    ),
    p.AnalysisCompleted: st.builds(
        p.AnalysisCompleted,
        session=DATES,
        partitions=PARTITIONS,
        results=tuples(RESULTS),
        data_version=texts(64),
        **ANSWERING,
    ),
    p.TradingSignalDetected: st.builds(
        p.TradingSignalDetected,
        signal_type=texts(10),
        price=FLOATS,
        volume=st.integers(),
        strategy_id=texts(40),
        score=SCORES,
        target_weight=st.floats(0, 1),
        **BOOK,
    ),
    p.TradingOrderCreated: st.builds(
        p.TradingOrderCreated,
        order_type=texts(10),
        quantity=FLOATS,
        price=maybe(FLOATS),
        **ORDER,
    ),
    p.TradingOrderFilled: st.builds(
        p.TradingOrderFilled,
        filled_quantity=FLOATS,
        filled_price=FLOATS,
        commission=FLOATS,
        **ORDER,
    ),
    p.TradingPositionUpdated: st.builds(
        p.TradingPositionUpdated,
        position_id=texts(40),
        quantity=FLOATS,
        entry_price=FLOATS,
        unrealized_pnl=FLOATS,
        status=texts(10),
        **BOOK,
    ),
    p.StatusUpdated: st.builds(
        p.StatusUpdated,
        status=texts(20),
        step=maybe(texts(60)),
        done=st.integers(),
        total=st.integers(),
        **ANSWERING,
    ),
}
SPAN = p.Partitions(first="2026-03-19", last="2026-03-19", count=1)
DAY = date(2026, 3, 19)
PLACE: dict[str, Any] = {"symbol": "AAPL", "market": "us", "session": DAY, "status": "NEW"}
IDS: dict[str, Any] = {"order_id": "1", "client_order_id": "1", "side": "BUY"}
EXAMPLES: dict[type[p.Payload], p.Payload] = {
    p.EconomicDataSyncRequested: p.EconomicDataSyncRequested(series_ids=("DGS10",)),
    p.StockPriceSyncRequested: p.StockPriceSyncRequested(market="us", session=DAY),
    p.NewsCrawlRequested: p.NewsCrawlRequested(hour=datetime(2026, 3, 19, 5, tzinfo=UTC)),
    p.AnalysisRequested: p.AnalysisRequested(market="us", symbols=("AAPL",)),
    p.CommandRequested: p.CommandRequested(task_type="macro", params={"a": 1}),
    p.NewsArticleCollected: p.NewsArticleCollected(url="https://x.example", title="t", source="s"),
    p.DataUpdated: p.DataUpdated(partitions=SPAN, rows=1),
    p.Failed: p.Failed(error_type="TransientError", message="away"),
    p.AnalysisCompleted: p.AnalysisCompleted(
        session=DAY,
        partitions=SPAN,
        results=(p.AnalysisResult(symbol="AAPL", status="OK", score=0.5),),
        data_version="1",
    ),
    p.TradingSignalDetected: p.TradingSignalDetected(
        signal_type="BUY",
        symbol="AAPL",
        price=1.0,
        volume=1,
        strategy_id="s",
        market="us",
        session=DAY,
        score=0.5,
        target_weight=0.05,
    ),
    p.TradingOrderCreated: p.TradingOrderCreated(order_type="MARKET", quantity=1.0, **IDS, **PLACE),
    p.TradingOrderFilled: p.TradingOrderFilled(
        filled_quantity=1.0, filled_price=1.0, commission=0.0, **IDS, **PLACE
    ),
    p.TradingPositionUpdated: p.TradingPositionUpdated(
        position_id="1", quantity=1.0, entry_price=1.0, unrealized_pnl=0.0, **PLACE
    ),
    p.StatusUpdated: p.StatusUpdated(status="started"),
}
