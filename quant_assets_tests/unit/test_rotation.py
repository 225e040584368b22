"""Which tickers are asked for when the day's calls do not reach for all."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from quant_assets.vendors.rotation import ReachedTimes, choose_tickers, reserved_calls

RESET = datetime(2026, 3, 21, 4, 0, tzinfo=UTC)
TICKERS = ("MSFT", "AAPL", "XOM", "JPM")


@pytest.mark.parametrize(
    ("hours_before", "reserved"), [(24, 23), (23.92, 23), (2, 1), (1.5, 1), (1, 0), (0.1, 0)]
)
def test_one_call_is_kept_for_each_later_hour_of_the_day(
    hours_before: float, reserved: int
) -> None:
    assert reserved_calls(RESET - timedelta(hours=hours_before), RESET) == reserved


def test_a_free_day_is_spent_on_the_general_feed_and_what_is_over_on_tickers() -> None:
    left, asked = 25, []
    for hour in range(24):
        now = RESET - timedelta(hours=24 - hour) + timedelta(minutes=5)
        left -= 1
        chosen, _ = choose_tickers(TICKERS, {}, left - reserved_calls(now, RESET))
        left -= len(chosen)
        asked.append(len(chosen))
        assert left >= 0
    assert asked == [1] + [0] * 23
    assert left == 0


def test_those_never_asked_for_come_first_then_the_longest_unasked() -> None:
    reached = {"AAPL": RESET, "MSFT": RESET - timedelta(hours=5), "XOM": RESET}
    assert choose_tickers(TICKERS, reached, 3) == (["JPM", "MSFT", "AAPL"], ["XOM"])
    assert choose_tickers(TICKERS, reached, 0) == ([], ["JPM", "MSFT", "AAPL", "XOM"])
    assert choose_tickers(TICKERS, reached, -4)[0] == []
    assert choose_tickers(TICKERS, {}, None) == (["AAPL", "JPM", "MSFT", "XOM"], [])
    assert choose_tickers(["A", "A"], {}, 5) == (["A"], [])


def test_every_ticker_has_its_turn(tmp_path: Path) -> None:
    reached = ReachedTimes(tmp_path / "cache" / "reached.json")
    turns = []
    for hour in range(8):
        (chosen,), _ = choose_tickers(TICKERS, reached.load(), 1)
        reached.advance([chosen], RESET + timedelta(hours=hour))
        turns.append(chosen)
    assert turns == sorted(TICKERS) * 2


def test_a_time_never_moves_back_and_damage_only_costs_the_order(tmp_path: Path) -> None:
    path = tmp_path / "reached.json"
    reached = ReachedTimes(path)
    reached.advance(["AAPL"], RESET)
    reached.advance(["AAPL"], RESET - timedelta(days=3))
    assert reached.load() == {"AAPL": RESET}
    for content in (b"", b"[]", b'{"AAPL": "yesterday"}', b'{"AAPL": 5}'):
        path.write_bytes(content)
        assert reached.load() == {}
    path.write_text('{"AAPL": "2026-03-20T10:00:00"}')
    assert reached.load() == {}, "a time without a zone says nothing"
