"""Recorded bars, statistics and posts through the real jobs, clients and storage.

The sandbox replays the files: US sessions of March 2015 with posts about eleven symbols, and
Korean sessions around the Lunar New Year of 2025, where nobody posted. Its clock stands after all
of them, so that the vendors know the future of every session.
"""

import contextlib
import json
import shutil
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from quant_assets.domain.article_identity import FEWEST_WORDS, title_key
from quant_assets.domain.tickers import TickerRecognizer
from quant_assets.io_managers.parquet_store import ParquetStore
from quant_assets.io_managers.quarantine import Quarantine
from quant_assets.markets import KR, US, Market
from quant_assets.schemas import dataset_of
from quant_assets_tests.integration.test_commands import Commands
from quant_assets_tests.platform import Platform, platform

NOW = datetime(2025, 2, 7, 3, 0, tzinfo=UTC)
POSTED = ("AAPL", "AMZN", "BABA", "DIS", "FB", "GE", "GOOG", "JPM", "MSFT", "WMT", "XOM")
US_SYMBOLS = (*POSTED, "AGFS", "GMRE")
US_ABSENT = "GMRE"
"""First bar on 2016-06-30; BABA's is of 2014-09-19 and AGFS's of 2014-11-20."""
KR_SYMBOLS = (
    *("005930.KS", "000660.KS", "035420.KS", "005380.KS", "000270.KS", "068270.KS", "105560.KS"),
    *("079900.KS", "462870.KS", "098070.KS"),
)
KR_ABSENT = "098070.KS"
"""First bar on 2025-03-20; those of 079900 and 462870 are of 2024-08-19 and 2024-07-11."""
SHORT = {"us": {"BABA", "AGFS"}, "kr": {"079900.KS", "462870.KS"}}
"""Symbols with fewer than the 250 bars that the published recursive values need."""
US_DAYS = [day.isoformat() for day in US.sessions(date(2015, 3, 2), date(2015, 3, 20))]
KR_DAYS = [day.isoformat() for day in KR.sessions(date(2025, 1, 21), date(2025, 2, 4))]
PRICES_FROM = {"us": "2013-03-05", "kr": "2023-12-05"}
HOURS = {"us": ("2015-02-27-00", "2015-03-23-23"), "kr": ("2025-01-20-00", "2025-02-05-00")}
RELEASE_DAYS = ("2013-10-01", "2015-03-17")
"""Fifteen months of unemployment rates and what comes before the regime looked at."""
CUT = "2015-03-11"
REFETCHED_FROM = "2015-01-02"
KR_BAD = ("2024-09-24", "068270.KS")
"""A recorded bar whose high is one won below its close, by the rounding of an adjustment."""
LABELS = {"STRONG_SELL", "SELL", "HOLD", "BUY", "STRONG_BUY"}
ANALYSIS = ("technical_indicators", "technical_score", "news_sentiment", "recommendations")
PRICE_COLUMNS = ["open", "high", "low", "close", "volume", "dividend", "split_ratio"]


def analysed(market: str) -> list[str]:
    return [f"{market}/{name}" for name in ANALYSIS]


def replaying(home: Path, files: Path) -> Any:
    """A platform on the recorded ``files``."""
    return platform(
        home,
        now=NOW,
        us=US_SYMBOLS,
        kr=KR_SYMBOLS,
        QUANT_PROFILE="replay",
        QUANT_SANDBOX_DATA=str(files),
        QUANT_NEWS_START="2013-12-01",
    )


def days_of(market: str) -> list[str]:
    return US_DAYS if market == "us" else KR_DAYS


@pytest.fixture(scope="module", autouse=True)
def _no_env_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Work where no ``.env`` is: that of a checkout names the instance of another profile."""
    with contextlib.chdir(tmp_path_factory.mktemp("elsewhere")):
        yield


@pytest.fixture(scope="module")
def files(recorded_data: Path) -> Path:
    return recorded_data / "recorded"


def analyse(p: Platform, market: str) -> None:
    p.run(f"{market}_combined_analysis", days_of(market)[0], days_of(market)[-1])


@pytest.fixture(scope="module")
def ready(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """Both markets fetched and analysed and the statistics, each in one run a job."""
    with replaying(tmp_path_factory.mktemp("ready"), files) as p:
        for market in ("us", "kr"):
            p.history(market, PRICES_FROM[market], days_of(market)[-1])
            p.run("news_crawl", *HOURS[market])
            analyse(p, market)
        p.run("macro_sync", *RELEASE_DAYS)
        yield p


@pytest.fixture
def copy(ready: Platform, files: Path, tmp_path: Path) -> Iterator[Platform]:
    """What ``ready`` stores, in another place."""
    shutil.copytree(ready.store.root, tmp_path / "data")
    with replaying(tmp_path, files) as p:
        yield p


def recorded_bars(files: Path, market: Market) -> pd.DataFrame:
    """Usable recorded bars of the market's symbols in the fetched sessions."""
    bars = pd.read_parquet(files / "bars.parquet")
    symbols = US_SYMBOLS if market is US else KR_SYMBOLS
    first, last = PRICES_FROM[market.key], days_of(market.key)[-1]
    is_bad = (bars["session"] == KR_BAD[0]) & (bars["symbol"] == KR_BAD[1])
    is_wanted = bars["symbol"].isin(symbols) & bars["session"].between(first, last)
    return bars[is_wanted & ~is_bad]


@pytest.mark.parametrize("market", [US, KR], ids=["us", "kr"])
def test_stored_bars_are_the_recorded_ones(ready: Platform, files: Path, market: Market) -> None:
    """The file knows no splits, so that a recorded bar is stored as it is, rounded."""
    expected = recorded_bars(files, market).rename(columns={"session": "session_date"})
    expected = expected.assign(
        **{name: expected[name].round(market.price_decimals) for name in PRICE_COLUMNS[:4]},
        dividend=expected["dividend"].round(6),
    )
    keys = ["session_date", "symbol"]
    stored = ready.read(f"{market.key}/prices")
    assert_frame_equal(
        stored[[*keys, *PRICE_COLUMNS]].sort_values(keys, ignore_index=True),
        expected[[*keys, *PRICE_COLUMNS]].sort_values(keys, ignore_index=True),
        rtol=0,
        atol=1e-9,
    )
    first, last = (
        date.fromisoformat(d) for d in (PRICES_FROM[market.key], days_of(market.key)[-1])
    )
    sessions = [day.isoformat() for day in market.sessions(first, last)]
    assert sorted(expected["session_date"].dt.strftime("%Y-%m-%d").unique()) == sessions
    assert ready.store.list_partitions(f"{market.key}/prices") == sessions


@pytest.mark.parametrize(("market", "absent"), [(US, US_ABSENT), (KR, KR_ABSENT)], ids=["us", "kr"])
def test_coverage_names_what_was_not_listed(
    copy: Platform, files: Path, market: Market, absent: str
) -> None:
    result = copy.run(f"{market.key}_price", days_of(market.key)[-1])
    (made,) = result.asset_materializations_for_node(f"{market.key}__prices")
    assert made.metadata["profile"].value == "replay"
    assert made.metadata["missing_bars"].value == 1
    missing = str(made.metadata["missing"].value).splitlines()[2:]
    assert missing == [f"| {days_of(market.key)[-1]} | {absent} |"]
    check = next(e for e in result.get_asset_check_evaluations() if e.check_name == "coverage")
    assert not check.passed
    assert check.severity == dg.AssetCheckSeverity.WARN
    assert absent in str(check.metadata["rows"].value)


def test_an_impossible_recorded_bar_is_quarantined_and_named(copy: Platform) -> None:
    session, symbol = KR_BAD
    result = copy.run("kr_price", session)
    (made,) = result.asset_materializations_for_node("kr__prices")
    assert f"| {session} | {symbol} | ohlc_order | the high is below another price |" in str(
        made.metadata["quarantine"].value
    )
    held = Quarantine(copy.store, "kr/prices").held([session])
    assert json.loads(held["row"].iloc[0])["close"] == json.loads(held["raw"].iloc[0])["close"]
    assert f"| {session} | {symbol} |" in str(made.metadata["missing"].value)
    assert symbol not in set(copy.read("kr/prices", session)["symbol"])


@pytest.mark.parametrize("market", [US, KR], ids=["us", "kr"])
def test_every_symbol_with_enough_history_is_recommended(ready: Platform, market: Market) -> None:
    days = days_of(market.key)
    symbols = set(US_SYMBOLS if market is US else KR_SYMBOLS) - {US_ABSENT, KR_ABSENT}
    frame = ready.read(f"{market.key}/recommendations")
    assert len(frame) == len(days) * len(symbols)
    assert set(frame["symbol"]) == symbols
    long = frame[~frame["symbol"].isin(SHORT[market.key])]
    assert len(long) == len(days) * (len(symbols) - 2)
    assert long["label"].notna().all()
    assert set(frame["label"].dropna()) <= LABELS
    assert frame["label"].nunique() >= 3, "labels differ"
    assert frame.loc[frame["label"].isna(), "reason"].notna().all()
    scored = frame[frame["technical_score"].notna()]
    expected = (0.7 * scored["technical_score"] + 0.3 * scored["sentiment_score"]).round(6)
    assert (scored["combined_score"] - expected).abs().max() <= 1e-6
    decisions = frame["session_date"].dt.date.map(market.decision_at)
    assert (frame["decision_at"] == pd.to_datetime(decisions, utc=True)).all()


@pytest.mark.parametrize("market", [US, KR], ids=["us", "kr"])
def test_long_windows_are_null_without_their_bars(ready: Platform, market: Market) -> None:
    frame = ready.read(f"{market.key}/technical_indicators")
    short = frame[frame["symbol"].isin(SHORT[market.key])]
    assert set(short["symbol"]) == SHORT[market.key]
    assert short["history_bars"].max() < 200
    assert short["sma_200"].isna().all()
    assert short["reason"].notna().all()
    long = frame[~frame["symbol"].isin(SHORT[market.key])]
    assert long["history_bars"].min() >= 250
    assert long.drop(columns="reason").notna().all(axis=None)


def test_the_decision_before_the_lunar_new_year_waits_for_its_end(ready: Platform) -> None:
    frame = ready.read("kr/news_sentiment", "2025-01-24")
    assert set(frame["decision_at"]) == {pd.Timestamp("2025-01-31", tz="UTC")}
    assert set(frame["hours_expected"]) == {8 * 24}
    assert set(frame["hours_missing"]) == {0}
    assert set(frame["status"]) == {"NO_NEWS"}


def test_articles_counted_by_hand(ready: Platform, files: Path) -> None:
    """Every symbol and session: distinct headlines of the posts that were known in the window.

    Nearly the same words within two days are one headline. A post counts for its own symbol and
    for those that its words name; the history of the provider is known 15 minutes after
    publication.
    """
    posts = pd.read_parquet(files / "news.parquet")
    posts["published_at"] = pd.to_datetime(posts["published_at"], utc=True)
    posts = posts[posts["published_at"].between("2015-02-26", "2015-03-25")]
    recognizer = TickerRecognizer.for_listings(
        [listing for key in ("us", "kr") for listing in ready.settings.universe(key)]
    )
    posts["key"] = posts["title"].map(title_key)
    named = [
        {symbol, *(mention.symbol for mention in recognizer.find(title))}
        for symbol, title in zip(posts["symbol"], posts["title"], strict=True)
    ]
    posts["symbols"] = pd.Series(named, index=posts.index)
    known = posts.explode("symbols")
    known_at = known["published_at"] + timedelta(minutes=15)
    stored = ready.read("us/news_sentiment").set_index(["session_date", "symbol"])["n_articles"]
    counts = {}
    for day in US_DAYS:
        session = date.fromisoformat(day)
        start = US.hours_of(US.offset_session(session, -1))[0]
        inside = known[(known_at >= start) & (known_at < US.decision_at(session))]
        for symbol in US_SYMBOLS:
            counts[pd.Timestamp(day), symbol] = news_in(inside[inside["symbols"] == symbol])
    assert counts == stored.to_dict()
    assert counts[pd.Timestamp("2015-03-09"), "AAPL"] > 100, "the day of the watch"


def news_in(posts: pd.DataFrame) -> int:
    """Distinct headlines, pair by pair: the same words, or one word more on one side."""
    kept: list[tuple[str, frozenset[str], pd.Timestamp]] = []
    count = 0
    for key, published in posts.sort_values("published_at")[["key", "published_at"]].to_numpy():
        words = frozenset(key.split())
        is_repeat = any(
            key == other
            or (
                published - when <= timedelta(hours=48)
                and min(len(words), len(others)) >= FEWEST_WORDS
                and len(words ^ others) <= 1
            )
            for other, others, when in kept
        )
        count += not is_repeat
        kept.append((key, words, published))
    return count


@pytest.mark.parametrize("market", ["us", "kr"])
def test_range_equals_sessions_and_chunks(ready: Platform, copy: Platform, market: str) -> None:
    for asset in analysed(market):
        shutil.rmtree(copy.store.root / asset)
    days = days_of(market)
    for first, last in ((0, 0), (1, 1), (2, 4), (5, len(days) - 1)):
        copy.run(f"{market}_combined_analysis", days[first], days[last])
    for asset in analysed(market):
        assert_frame_equal(copy.read(asset), ready.read(asset), rtol=0, atol=1e-9, obj=asset)


def test_prices_and_news_of_a_range_equal_single_partitions(
    ready: Platform, files: Path, tmp_path: Path
) -> None:
    assets = ("us/prices", "news/articles", "news/article_sentiment")
    with replaying(tmp_path, files) as p:
        p.run("us_price", US_DAYS[4])
        p.run("us_price", US_DAYS[5])
        for hour in ("2015-03-09-16", "2015-03-09-17"):
            p.run("news_crawl", hour)
        singles = p.files(*assets)
        assert p.read("news/articles")["article_id"].nunique() > 20
    assert len(singles) == 6
    whole = ready.files(*assets)
    assert {name: whole[name] for name in singles} == singles


def test_running_again_changes_no_byte(ready: Platform, copy: Platform) -> None:
    for market in ("us", "kr"):
        copy.run(f"{market}_price", days_of(market)[0], days_of(market)[-1])
        analyse(copy, market)
    copy.run("news_crawl", "2015-03-05-00", "2015-03-11-23")
    copy.run("macro_sync", "2015-03-01", RELEASE_DAYS[1])
    assets = ["us/prices", "kr/prices", "news/articles", "news/article_sentiment"]
    assets += ["macro/observations", "macro/regime", *analysed("us"), *analysed("kr")]
    before = ready.files(*assets)
    assert len(before) > 3500
    assert copy.files(*assets) == before


def truncate(files: Path, folder: Path) -> None:
    """Write the recorded files into ``folder`` without what came after the decision of ``CUT``."""
    folder.mkdir()
    bars = pd.read_parquet(files / "bars.parquet")
    bars[bars["session"] <= CUT].to_parquet(folder / "bars.parquet")
    posts = pd.read_parquet(files / "news.parquet")
    published = pd.to_datetime(posts["published_at"], utc=True)
    posts[published < US.decision_at(date.fromisoformat(CUT))].to_parquet(folder / "news.parquet")
    statistics = pd.read_parquet(files / "macro.parquet")
    statistics[statistics["observation_date"] <= CUT].to_parquet(folder / "macro.parquet")


def test_removing_the_future_changes_nothing(ready: Platform, files: Path, tmp_path: Path) -> None:
    """Files that end with a session's decision give what the whole files give, to the byte.

    What is older than two months is not fetched again.
    """
    truncate(files, tmp_path / "truncated")
    days = [day for day in US_DAYS if day <= CUT]
    for asset in ("us/prices", "macro/observations"):
        target = tmp_path / "home" / "data" / asset
        target.mkdir(parents=True)
        for path in sorted((ready.store.root / asset).glob("*.parquet")):
            if path.stem < REFETCHED_FROM:
                shutil.copy(path, target)
    with replaying(tmp_path / "home", tmp_path / "truncated") as p:
        p.run("us_price", REFETCHED_FROM, CUT)
        p.run("macro_sync", REFETCHED_FROM, CUT)
        p.run("news_crawl", HOURS["us"][0], "2015-03-12-23")
        p.run("us_combined_analysis", days[0], CUT)
        for asset in ("us/prices", "macro/observations", "macro/regime", *analysed("us")):
            then, now = p.files(asset), ready.files(asset)
            assert max(then) == f"{asset}/{CUT}.parquet"
            assert {name: now[name] for name in then} == then, asset


def test_the_regime_of_2015_as_known_then(ready: Platform, files: Path) -> None:
    """A daily value is known the next business day, a monthly one in the middle of the month after.

    The recording has no BAA10Y: the credit spread is unknown and the state rests on the others.
    """
    recorded = pd.read_parquet(files / "macro.parquet")
    value = recorded.set_index(["series_id", "observation_date"])["value"]
    observations = ready.read("macro/observations")
    assert (observations["realtime_start"] > observations["observation_date"]).all()
    row = ready.read("macro/regime", "2015-03-12").iloc[0]
    assert row["vix"] == value["VIXCLS", "2015-03-11"]
    assert row["term_spread"] == value["T10Y2Y", "2015-03-11"]
    assert row["policy_rate"] == value["FEDFUNDS", "2015-01-01"]
    assert pd.isna(row["credit_spread"])
    assert row["n_features"] == 6
    vix = value["VIXCLS"].loc[:"2015-03-11"].dropna().tail(252)
    assert row["vix_percentile"] == pytest.approx((vix <= 16.87).mean(), abs=1e-9)
    assert row["vix_percentile"] > 0.8, "half a point of stress, and no other rule holds"
    assert (row["stress_points"], row["regime"]) == (0.5, "NEUTRAL")
    later = ready.read("macro/regime", "2015-03-17").iloc[0]
    for state, month in ((row, "01"), (later, "02")):
        ratio = value["CPIAUCSL", f"2015-{month}-01"] / value["CPIAUCSL", f"2014-{month}-01"]
        assert state["cpi_yoy"] == pytest.approx((ratio - 1) * 100, abs=1e-9)


def test_quant_run_on_recorded_data(files: Path, tmp_path: Path) -> None:
    commands = Commands(tmp_path)
    commands.environment |= {
        "QUANT_US_UNIVERSE": "AAPL,GE,XOM",
        "QUANT_HOME": str(tmp_path / "home"),
    }
    dates = ("--from", "2015-03-02", "--to", "2015-03-06")
    words = ("quant", "run", "--data", str(files), "--market", "us", *dates)
    first = commands(*words)
    assert "United States 2015-03-06" in first.stdout
    for symbol in ("AAPL", "GE", "XOM"):
        assert symbol in first.stdout
    assert "failed" not in first.stderr
    store = ParquetStore(tmp_path / "home" / "data", "replay")
    asset = "us/recommendations"
    stored = store.read(dataset_of(asset), asset, store.list_partitions(asset))
    assert len(stored) == 5 * 3
    assert stored["label"].notna().all()
    assert not stored["is_degraded"].any(), "the news start with the recording"
    assert (stored["sentiment_status"] == "OK").sum() >= 10
    assert "Everything was there already" in commands(*words).stderr


@pytest.mark.parametrize("market", ["us", "kr"])
def test_the_paper_book_is_the_backtest(copy: Platform, market: str) -> None:
    """To the cent on recorded bars, in two runs of the book and one of the backtest."""
    days = days_of(market)
    for first, last in ((days[0], days[3]), (days[4], days[-1])):
        copy.run(f"{market}_paper_trading", first, last)
    result = copy.defs.resolve_job_def("backtest").execute_in_process(
        instance=copy.instance,
        run_config={
            "ops": {
                "research__backtest": {
                    "config": {"market": market, "first": days[0], "last": days[-1], "name": "it"}
                }
            }
        },
    )
    assert result.success
    made = pd.read_parquet(
        copy.settings.results_dir / market / "backtests" / "it" / "ledger.parquet"
    )
    dataset = dataset_of(f"{market}/ledger")
    made = dataset.conform(made.assign(opening_hash=None), "the backtest's ledger")
    stored = copy.read(f"{market}/ledger")
    assert (stored["kind"] == "FILL").any()
    assert_frame_equal(made.drop(columns="opening_hash"), stored.drop(columns="opening_hash"))
