"""What users see when data or settings are wrong: the error or the coverage record, by name."""

from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from quant_assets.assets import macro, prices
from quant_assets.errors import BadConfigurationError
from quant_assets.io_managers.parquet_store import ParquetStore
from quant_assets.naming import TAG_PARTITION
from quant_assets.policies import VENDOR_RETRY
from quant_assets.sandbox.faults import Fault
from quant_assets.schemas import dataset_of
from quant_assets.settings import read_settings
from quant_assets_tests.platform import NOW, failure, platform

DAY = "2026-03-18"
YEAR_FROM = "2025-03-03"
"""262 sessions before it: enough for a label, half of the look-back."""


def evaluation(result: dg.ExecuteInProcessResult, name: str) -> dg.AssetCheckEvaluation:
    return next(e for e in result.get_asset_check_evaluations() if e.check_name == name)


def error_type(result: dg.ExecuteInProcessResult) -> str:
    event = next(e for e in result.all_events if e.is_step_failure)
    failed = event.step_failure_data.user_failure_data
    assert failed is not None, failure(result)
    return str(failed.metadata["error_type"].value)


def test_a_symbol_without_data_is_named_and_the_others_are_stored(tmp_path: Path) -> None:
    with platform(tmp_path, us=["AAPL", "ZZGONE", "MSFT"]) as p:
        result = p.run("us_price", DAY)
        coverage = evaluation(result, "coverage")
        assert not coverage.passed
        assert coverage.metadata["missing"].value == 1
        assert "ZZGONE" in str(coverage.metadata["rows"].value)
        assert DAY in str(coverage.metadata["rows"].value)
        assert p.read("us/prices", DAY)["symbol"].tolist() == ["AAPL", "MSFT"]
        event = p.instance.get_latest_materialization_event(dg.AssetKey(["us", "prices"]))
        assert event is not None
        assert event.asset_materialization is not None
        assert "ZZGONE: unknown_symbol" in str(
            event.asset_materialization.metadata["outcomes"].value
        )


def test_a_delisted_symbol_is_expected_only_while_it_was_listed(tmp_path: Path) -> None:
    universe = tmp_path / "universe.csv"
    universe.write_text("symbol,listed_on,delisted_on\nAAPL,,\nZZOLD,,2025-06-30\n")
    with platform(tmp_path / "home", QUANT_US_UNIVERSE=str(universe)) as p:
        result = p.run("us_price", "2025-06-27", "2025-07-02")
        assert evaluation(result, "coverage").passed
        rows = p.read("us/prices").groupby("symbol").size().to_dict()
        assert rows == {"AAPL": 4, "ZZOLD": 2}


def test_a_market_without_data_names_the_calendar(tmp_path: Path) -> None:
    with platform(tmp_path) as p:
        p.sandbox.faults.add(Fault("yahoo.chart", "empty"))
        result = p.run("us_price", DAY, check=False)
        assert not result.success
        assert error_type(result) == "BadDataError"
        assert "no symbol has a bar in 2026-03-18" in failure(result)
        assert "QUANT_CALENDAR_OVERRIDES" in failure(result)
        assert p.files("us/prices") == {}


def test_an_open_session_is_refused(tmp_path: Path) -> None:
    now = datetime(2026, 3, 18, 20, 29, tzinfo=UTC)
    with platform(tmp_path, now=now) as p:
        result = p.run("us_price", DAY, check=False)
        assert error_type(result) == "PermanentError"
        assert "counts from 2026-03-18 20:30 UTC" in failure(result)
        assert "last complete session is 2026-03-17" in failure(result)
        assert p.sandbox.requests.count() == 0


def test_a_throttled_vendor_is_asked_again_by_the_retry_policy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client gives up after five answers of 429; the step's second retry finds them gone."""
    monkeypatch.setattr(prices, "VENDOR_RETRY", VENDOR_RETRY._replace(delay=0.1))
    with platform(tmp_path, QUANT_YAHOO_WORKERS="1") as p:
        p.sandbox.faults.add(Fault("yahoo.chart", "status", code=429, times=10))
        result = p.run("us_price", DAY)
        retried = [
            e for e in result.all_events if e.event_type == dg.DagsterEventType.STEP_UP_FOR_RETRY
        ]
        assert len(retried) == VENDOR_RETRY.max_retries == 2
        assert "Yahoo answered for 0% of 5 symbols" in str(retried[0].event_specific_data)
        assert len(p.read("us/prices", DAY)) == 5


def test_a_missing_partition_is_named_with_who_needs_it(tmp_path: Path) -> None:
    with platform(tmp_path) as p:
        result = p.run("us_technical_analysis", DAY, check=False)
        assert f"us/prices: partition(s) {DAY} not stored" in failure(result)
        assert "needed by us__technical_indicators" in failure(result)


def test_a_hole_in_the_look_back_is_an_error_not_a_shorter_history(tmp_path: Path) -> None:
    with platform(tmp_path) as p:
        p.run("us_price", "2026-03-10", "2026-03-18")
        p.store.delete("us/prices", ["2026-03-12"])
        result = p.run("us_technical_analysis", DAY, check=False)
        assert not result.success
        assert "2026-03-12" in failure(result)


def test_short_history_gives_no_label_but_the_reason(tmp_path: Path) -> None:
    with platform(tmp_path) as p:
        p.run("us_price", "2026-03-02", DAY)
        p.run("news_crawl", "2026-03-16-00", "2026-03-19-14")
        result = p.run("us_combined_analysis", DAY)
        frame = p.read("us/recommendations", DAY)
        assert frame["label"].isna().all()
        assert frame["combined_score"].isna().all()
        assert frame["reason"].str.contains("of 250 bars").all()
        labelled = evaluation(result, "labelled")
        assert not labelled.passed
        assert "AAPL" in str(labelled.metadata["rows"].value)


def test_news_never_crawled_degrade_the_recommendation(tmp_path: Path) -> None:
    with platform(tmp_path) as p:
        p.history("us", YEAR_FROM, DAY)
        p.run("us_combined_analysis", DAY)
        frame = p.read("us/recommendations", DAY)
        assert (frame["sentiment_status"] == "UNAVAILABLE").all()
        assert frame["is_degraded"].all()
        assert set(frame["label"]) <= {"SELL", "HOLD", "BUY"}
        assert (frame["combined_score"] - 0.7 * frame["technical_score"]).abs().max() < 1e-6


@pytest.mark.parametrize("content", [b"", b"PAR1 not really", b"\x00" * 4096])
def test_a_corrupt_file_is_named_with_the_remedy(tmp_path: Path, content: bytes) -> None:
    with platform(tmp_path) as p:
        p.run("us_price", "2026-03-16", DAY)
        path = p.store.path("us/prices", "2026-03-17")
        path.write_bytes(content)
        result = p.run("us_technical_analysis", DAY, check=False)
        assert str(path) in failure(result)
        assert "materialize the partition again" in failure(result)
        p.run("us_price", "2026-03-17")
        p.run("us_technical_analysis", DAY)


def test_bad_bars_are_quarantined_and_named(tmp_path: Path) -> None:
    last = "2026-03-19"
    with platform(tmp_path) as p:
        p.sandbox.faults.add(Fault("yahoo.chart", "zero_rows", symbols=["MSFT"], history_only=True))
        result = p.run("us_price", DAY, last)
        stored = p.read("us/prices", last)
        assert "MSFT" not in set(stored["symbol"])
        event = p.instance.get_latest_materialization_event(dg.AssetKey(["us", "prices"]))
        assert event is not None
        assert event.asset_materialization is not None
        table = str(event.asset_materialization.metadata["quarantine"].value)
        assert f"{last} | MSFT | zero_price | a price is zero or negative" in table
        quality = evaluation(result, "quality")
        assert not quality.passed
        assert f"zero_price | {last} | MSFT" in str(quality.metadata["first"].value)


def test_a_past_hour_without_alpha_vantage_is_an_error(tmp_path: Path) -> None:
    with platform(tmp_path) as p:
        p.sandbox.faults.add(Fault("alpha_vantage", "quota"))
        result = p.run("news_crawl", "2026-03-10-12", check=False)
        assert not result.success
        assert "a past hour cannot be filled from RSS" in failure(result)
        assert p.files("news/articles") == {}


def test_a_live_hour_survives_a_provider_and_says_so(tmp_path: Path) -> None:
    with platform(tmp_path) as p:
        p.sandbox.faults.add(Fault("alpha_vantage", "quota"))
        p.run("news_crawl", "2026-03-20-02")
        event = p.instance.get_latest_materialization_event(dg.AssetKey(["news", "articles"]))
        assert event is not None
        assert event.asset_materialization is not None
        sources = str(event.asset_materialization.metadata["sources"].value)
        assert "QuotaExhaustedError" in sources
        assert "sandbox0sandbox0" not in sources, "the key is redacted"
        stored = p.read("news/articles")
        assert set(stored["provider"]) == {"rss"}
        assert (stored["first_seen_at"] == NOW).all()
        assert (stored["available_at"] >= stored["published_at"]).all()


def test_a_live_hour_crawled_twice_keeps_what_was_seen_first(tmp_path: Path) -> None:
    with platform(tmp_path) as p:
        p.run("news_crawl", "2026-03-20-02")
        before = p.read("news/articles")
    later = NOW.replace(hour=5)
    with platform(tmp_path, now=later) as p:
        p.run("news_crawl", "2026-03-20-02")
        after = p.read("news/articles")
    known = after[after["article_id"].isin(before["article_id"])]
    assert len(before) > 0
    assert known["first_seen_at"].tolist() == before["first_seen_at"].tolist()


def test_every_news_source_down_is_retried_not_stored_empty(tmp_path: Path) -> None:
    with platform(tmp_path) as p:
        p.sandbox.faults.add(Fault("alpha_vantage", "quota"))
        p.sandbox.faults.add(Fault("rss", "status", code=404))
        result = p.run("news_crawl", "2026-03-20-02", check=False)
        assert "no news source answered" in failure(result)
        assert p.files("news/articles") == {}


def test_an_unknown_macro_series_is_named_and_the_others_are_stored(tmp_path: Path) -> None:
    series = tmp_path / "series.csv"
    series.write_text(
        "series_id,name,units,frequency,publication_lag_days\n"
        "DGS10,Ten years,percent,daily,\nNOSUCH,Nothing,none,daily,\n"
    )
    with platform(tmp_path / "home", QUANT_MACRO_SERIES=str(series)) as p:
        result = p.run("macro_sync", "2026-03-17")
        assert set(p.read("macro/observations")["series_id"]) == {"DGS10"}
        quality = evaluation(result, "quality")
        assert not quality.passed
        assert "The series does not exist" in str(quality.metadata["first"].value)
        event = p.instance.get_latest_materialization_event(dg.AssetKey(["macro", "observations"]))
        assert event is not None
        assert event.asset_materialization is not None
        assert "NOSUCH" in str(event.asset_materialization.metadata["series_failed"].value)


def test_a_wrong_scoring_setting_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadConfigurationError, match=r"QUANT_SCORING.*technical_weight"):
        read_settings(QUANT_HOME=str(tmp_path), QUANT_SCORING={"technical_weight": 0.9})


def test_runs_of_an_unfinished_platform_leave_no_temporary_files(tmp_path: Path) -> None:
    with platform(tmp_path) as p:
        p.run("us_price", DAY)
        assert list(Path(p.store.root).rglob("*.tmp")) == []


def test_a_range_that_begins_in_the_past_is_not_filled_from_rss(tmp_path: Path) -> None:
    """Its past hours would be stored as if they had had no news, for ever."""
    with platform(tmp_path) as p:
        p.sandbox.faults.add(Fault("alpha_vantage", "quota"))
        result = p.run("news_crawl", "2026-03-17-00", "2026-03-20-02", check=False)
        assert "cannot be filled from RSS" in failure(result)
        assert p.files("news/articles") == {}


def test_a_bad_night_keeps_the_rows_of_a_good_one(tmp_path: Path) -> None:
    with platform(tmp_path) as p:
        p.run("us_price", "2026-03-16", DAY)
        before = p.files("us/prices")
        p.sandbox.faults.add(Fault("yahoo.chart", "empty", symbols=["MSFT"], history_only=True))
        p.run("us_price", "2026-03-16", DAY)
        assert p.files("us/prices") == before


def test_one_failing_symbol_of_a_few_does_not_stop_the_others(tmp_path: Path) -> None:
    with platform(tmp_path, us=["AAPL", "MSFT", "NVDA"]) as p:
        p.sandbox.faults.add(Fault("yahoo.chart", "malformed", symbols=["NVDA"]))
        result = p.run("us_price", DAY)
        assert "NVDA" in str(evaluation(result, "coverage").metadata["rows"].value)
        assert p.read("us/prices", DAY)["symbol"].tolist() == ["AAPL", "MSFT"]


def test_a_malformed_series_is_asked_again_then_named_and_the_others_are_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(macro, "VENDOR_RETRY", VENDOR_RETRY._replace(delay=0.1))
    with platform(tmp_path) as p:
        fault = p.sandbox.faults.add(
            Fault("fred", "malformed", series=["UNRATE"], wrong_types=True)
        )
        result = p.run("macro_sync", "2026-03-06")
        assert fault.hits == 1 + VENDOR_RETRY.max_retries
        stored = set(p.read("macro/observations")["series_id"])
        assert {"DGS10", "PAYEMS"} <= stored
        assert "UNRATE" not in stored
        quality = evaluation(result, "quality")
        assert not quality.passed
        assert quality.severity == dg.AssetCheckSeverity.ERROR
        assert "series_failed | 2026-03-06 | UNRATE" in str(quality.metadata["first"].value)
        p.sandbox.faults.clear()
        result = p.run("macro_sync", "2026-03-06")
        assert evaluation(result, "quality").passed
        assert "UNRATE" in set(p.read("macro/observations")["series_id"])


def test_a_partition_that_is_no_session_rewrites_no_other(tmp_path: Path) -> None:
    """Asked for by a tag, as `dagster job launch` does: Dagster takes Monday for a Saturday."""
    with platform(tmp_path) as p:
        result = p.defs.resolve_job_def("us_price").execute_in_process(
            instance=p.instance, tags={TAG_PARTITION: "2026-03-14"}, raise_on_error=False
        )
        assert "us/prices has no partition '2026-03-14'" in failure(result)
        assert p.files("us/prices") == {}


def test_data_of_another_profile_are_neither_read_nor_overwritten(tmp_path: Path) -> None:
    with platform(tmp_path) as p:
        p.run("us_price", DAY)
        live = ParquetStore(p.store.root, "live")
        with pytest.raises(BadConfigurationError, match="holds data of the profile 'sandbox'"):
            live.read(dataset_of("us/prices"), "us/prices", [DAY])
        with pytest.raises(BadConfigurationError, match="do not share a directory"):
            live.write(dataset_of("us/prices"), "us/prices", DAY, p.read("us/prices", DAY), "1")


def test_a_symbol_without_a_bar_is_named_as_not_labelled(tmp_path: Path) -> None:
    with platform(tmp_path, us=["AAPL", "ZZGONE"]) as p:
        p.history("us", YEAR_FROM, DAY)
        result = p.run("us_combined_analysis", DAY)
        labelled = evaluation(result, "labelled")
        assert not labelled.passed
        assert "ZZGONE | no bar in the session" in str(labelled.metadata["rows"].value)


def test_a_negative_publication_lag_is_refused(tmp_path: Path) -> None:
    series = tmp_path / "series.csv"
    series.write_text("series_id,name,units,frequency,publication_lag_days\nDGS10,a,b,daily,-3\n")
    with pytest.raises(BadConfigurationError, match="DGS10 has a negative publication lag"):
        read_settings(QUANT_MACRO_SERIES=str(series)).series()
