"""The simulated FRED, asked by fredapi (XML) and by plain requests (JSON)."""

import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pytest
import requests
from fredapi import Fred

from quant_assets.sandbox.faults import Fault
from quant_assets.sandbox.server import Sandbox

NOW = datetime(2026, 6, 16, 22, 0, tzinfo=UTC)
KEY = "abcdefghijklmnopqrstuvwxyz012345"


@pytest.fixture(scope="module")
def running() -> Iterator[Sandbox]:
    with Sandbox(now=lambda: NOW) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running: Sandbox) -> Sandbox:
    running.faults.clear()
    running.requests.clear()
    return running


@pytest.fixture
def fred(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fred]:
    for name in ("HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    client = Fred(api_key=KEY)
    client.root_url = f"{sandbox.url}/fred"
    yield client
    urllib.request.install_opener(urllib.request.build_opener())


def ask(sandbox: Sandbox, series_id: str, path: str = "observations", **query: Any) -> Any:
    asked = {"series_id": series_id, "api_key": KEY, "file_type": "json"} | query
    asked = {name: value for name, value in asked.items() if value is not None}
    return requests.get(f"{sandbox.url}/fred/series/{path}", params=asked, timeout=10)


def observations(sandbox: Sandbox, series_id: str, **query: Any) -> pd.DataFrame:
    return pd.DataFrame(ask(sandbox, series_id, **query).json()["observations"])


def test_fredapi_reads_series_releases_and_vintages(fred: Fred) -> None:
    day = pd.Timestamp("2024-01-01")
    latest = fred.get_series("GDP", observation_start="2024-01-01")
    assert list(latest.index[:2]) == [pd.Timestamp("2024-01-01"), pd.Timestamp("2024-04-01")]
    releases = fred.get_series_all_releases("GDP")
    assert (releases["date"] == day).sum() == 4
    last = releases[releases["date"] == day]["value"].iloc[-1]
    assert last == latest.loc[day]
    first = fred.get_series_first_release("GDP")
    assert first.loc[day] == releases[releases["date"] == day]["value"].iloc[0]
    vintages = fred.get_series_vintage_dates("GDP")
    assert sorted(set(releases["realtime_start"])) == vintages
    assert fred.get_series_info("GDP").title == "Gross Domestic Product"
    assert "DGS10" in fred.search("treasury").index
    with pytest.raises(ValueError, match="The series does not exist"):
        fred.get_series("NOPE")


def test_xml_and_json_say_the_same(sandbox: Sandbox, fred: Fred) -> None:
    table = observations(sandbox, "DGS10", observation_start="2026-05-01")
    parsed = fred.get_series("DGS10", observation_start="2026-05-01")
    values = pd.to_numeric(table["value"], errors="coerce").tolist()
    assert [str(day.date()) for day in parsed.index] == table["date"].tolist()
    assert parsed.fillna(-1).tolist() == pd.Series(values).fillna(-1).tolist()
    assert "." in table["value"].tolist()


def test_by_default_the_real_time_period_is_today(sandbox: Sandbox) -> None:
    answer = ask(sandbox, "UNRATE").json()
    assert answer["realtime_start"] == answer["realtime_end"] == "2026-06-16"
    assert {row["realtime_start"] for row in answer["observations"]} == {"2026-06-16"}
    assert answer["count"] == len(answer["observations"])
    assert answer["observations"][-1]["date"] == "2026-05-01"


def test_a_point_in_time_query_sees_only_what_was_published(sandbox: Sandbox) -> None:
    def value(day: str) -> str | None:
        table = observations(sandbox, "GDPC1", realtime_start=day, realtime_end=day)
        found = table[table["date"] == "2025-01-01"]["value"]
        return None if found.empty else str(found.iloc[0])

    seen = [value(day) for day in ("2025-04-27", "2025-04-28", "2025-06-01", "2025-07-01")]
    assert seen[0] is None
    assert None not in seen[1:]
    assert len(set(seen)) == 4


def test_validity_is_cut_to_the_period(sandbox: Sandbox) -> None:
    period = {"realtime_start": "2025-05-10", "realtime_end": "2025-06-10"}
    table = observations(sandbox, "GDPC1", **period)
    assert table["realtime_start"].min() == "2025-05-10"
    assert table["realtime_end"].max() == "2025-06-10"
    first_quarter = table[table["date"] == "2025-01-01"]
    assert first_quarter["realtime_start"].tolist() == ["2025-05-10", "2025-05-27"]
    assert first_quarter["realtime_end"].tolist() == ["2025-05-26", "2025-06-10"]
    whole = observations(sandbox, "GDPC1", realtime_start="1776-07-04", realtime_end="9999-12-31")
    assert whole[whole["date"] == "2025-01-01"]["realtime_end"].iloc[-1] == "9999-12-31"


def test_days_after_today_are_unknown_until_they_come() -> None:
    morning = datetime(2026, 6, 5, 11, 0, tzinfo=UTC)
    clock = [morning]
    with Sandbox(now=lambda: clock[0]) as sandbox:
        before = observations(sandbox, "UNRATE")["date"].iloc[-1]
        clock[0] = morning + timedelta(hours=6)
        after = observations(sandbox, "UNRATE")["date"].iloc[-1]
    assert (before, after) == ("2026-04-01", "2026-05-01")


def test_paging_and_order(sandbox: Sandbox) -> None:
    whole = observations(sandbox, "ICSA")
    page = ask(sandbox, "ICSA", limit=10, offset=20).json()
    assert (page["count"], page["limit"], page["offset"]) == (len(whole), 10, 20)
    assert [row["date"] for row in page["observations"]] == whole["date"].tolist()[20:30]
    newest = ask(sandbox, "ICSA", sort_order="desc", limit=1).json()["observations"]
    assert newest[0]["date"] == whole["date"].iloc[-1]


@pytest.mark.parametrize(
    ("series_id", "query", "message"),
    [
        ("NOPE", {}, "The series does not exist."),
        ("GDP", {"api_key": None}, "Variable api_key is not set."),
        ("GDP", {"api_key": "SHORT"}, "is not a 32 character alpha-numeric lower-case string"),
        ("GDP", {"realtime_start": "yesterday"}, "is not a YYYY-MM-DD formatted date"),
        ("GDP", {"realtime_end": "2026-06-17"}, "can not be after today's date"),
        ("GDP", {"limit": 0}, "limit is not between 1 and 100000"),
        ("GDP", {"units": "pch"}, "units=lin"),
        (
            "DGS10",
            {"realtime_start": "1776-07-04", "realtime_end": "9999-12-31"},
            "exceeds the maximum number of vintage dates allowed (2000)",
        ),
        (
            "GDP",
            {"realtime_start": "1980-01-01", "realtime_end": "1980-12-31"},
            "does not exist in ALFRED",
        ),
    ],
)
def test_errors(sandbox: Sandbox, series_id: str, query: dict[str, Any], message: str) -> None:
    answer = ask(sandbox, series_id, **query)
    assert answer.status_code == 400
    assert answer.json()["error_code"] == 400
    assert answer.json()["error_message"].startswith("Bad Request.  ")
    assert message in answer.json()["error_message"]


def test_recorded_answers_have_the_same_fields(sandbox: Sandbox, recorded_data: Any) -> None:
    recorded = pd.read_json(recorded_data / "wire/fred/test_get_series_0.json", typ="series")
    answer = ask(sandbox, "GDP").json()
    assert set(recorded.index) == set(answer)
    assert {k: type(v) for k, v in recorded["observations"][0].items()} == {
        k: type(v) for k, v in answer["observations"][0].items()
    }


def test_faults_of_the_content(sandbox: Sandbox) -> None:
    clean = observations(sandbox, "DGS2", observation_start="2026-06-01")

    def faulty(kind: str, **options: Any) -> list[dict[str, str]]:
        sandbox.faults.clear()
        sandbox.faults.add(Fault("fred", kind, series=["DGS2"], **options))
        answer = ask(sandbox, "DGS2", observation_start="2026-06-01")
        found: list[dict[str, str]] = answer.json()["observations"]
        return found

    assert faulty("empty") == []
    assert len(faulty("duplicate")) == len(clean) + 1
    assert faulty("malformed", wrong_types=True)[0]["value"] == "n/a"
    revised = float(faulty("revised", factor=2.0)[0]["value"])
    assert revised == pytest.approx(2 * float(clean["value"].iloc[0]))
    assert len(observations(sandbox, "DGS10")) > 100


def test_faults_of_the_vintage_dates(sandbox: Sandbox) -> None:
    def listed() -> list[str]:
        found: list[str] = ask(sandbox, "UNRATE", "vintagedates").json()["vintage_dates"]
        return found

    clean = listed()

    def faulty(kind: str, **options: Any) -> list[str]:
        sandbox.faults.clear()
        sandbox.faults.add(Fault("fred", kind, series=["UNRATE"], **options))
        return listed()

    assert faulty("empty") == []
    assert faulty("late") == clean[:-1]
    assert faulty("duplicate") == [*clean, clean[-1]]
    assert set(faulty("malformed", wrong_types=True)) == {"n/a"}


def test_requests_beyond_the_allowance_are_refused() -> None:
    """As FRED words it; the allowance is of any 60 seconds, and refused requests do not count."""
    clock = [NOW]
    with Sandbox(now=lambda: clock[0]) as sandbox:
        sandbox.fred_limits[60] = 3

        def status() -> int:
            clock[0] += timedelta(seconds=10)
            answer = ask(sandbox, "UNRATE", "vintagedates")
            if answer.status_code == 429:
                assert answer.json()["error_message"] == "Too Many Requests.  Exceeded Rate Limit"
            return int(answer.status_code)

        assert [status() for _ in range(10)] == [200] * 3 + [429] * 3 + [200] * 3 + [429]
