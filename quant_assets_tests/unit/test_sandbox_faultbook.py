"""Which requests a scripted fault hits, and what it may be made of."""

import pytest

from quant_assets.errors import BadConfigurationError
from quant_assets.sandbox.faults import Fault, FaultBook, fault_from_dict


def hits(book: FaultBook, endpoint: str, subject: str, count: int) -> int:
    return sum(len(book.draw(endpoint, subject)) for _ in range(count))


def test_a_fault_hits_its_endpoint_and_subject_so_many_times() -> None:
    book = FaultBook()
    fault = book.add(Fault("yahoo.chart", "status", symbols=["AAPL"], times=2, code=429))
    assert hits(book, "fred", "AAPL", 3) == 0
    assert hits(book, "yahoo.chart", "MSFT", 3) == 0
    assert hits(book, "yahoo.chart", "AAPL", 5) == 2
    assert fault.is_spent
    assert fault.option("code", 500) == 429


def test_a_fault_without_limits_hits_always_until_cleared() -> None:
    book = FaultBook()
    book.add(Fault("rss", "empty"))
    assert hits(book, "rss", "markets", 20) == 20
    book.clear()
    assert hits(book, "rss", "markets", 20) == 0


def test_probability_is_seeded() -> None:
    def pattern(seed: int) -> list[int]:
        book = FaultBook(seed)
        book.add(Fault("fred", "delay", probability=0.3, seconds=0))
        return [len(book.draw("fred", "GDP")) for _ in range(400)]

    assert pattern(1) == pattern(1) != pattern(2)
    assert 70 < sum(pattern(1)) < 170


def test_half_takes_every_second_symbol_and_stays_with_it() -> None:
    book = FaultBook()
    book.add(Fault("yahoo.chart", "half"))
    symbols = ["A", "B", "C", "D", "E", "F"]
    hit = [s for s in symbols if book.draw("yahoo.chart", s)]
    assert hit == ["B", "D", "F"]
    assert [s for s in reversed(symbols) if book.draw("yahoo.chart", s)] == ["F", "D", "B"]


def test_history_only_leaves_time_zone_requests_alone() -> None:
    book = FaultBook()
    book.add(Fault("yahoo.chart", "empty", history_only=True))
    assert book.draw("yahoo.chart", "AAPL", is_history=False) == ()
    assert len(book.draw("yahoo.chart", "AAPL", is_history=True)) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"endpoint": "bloomberg", "kind": "status"}, "none of yahoo.cookie"),
        ({"endpoint": "rss", "kind": "zero_rows"}, "none of status"),
        ({"endpoint": "rss", "kind": "status", "seconds": 1}, "no option seconds"),
        ({"endpoint": "rss"}, "needs 'endpoint' and 'kind'"),
        ({"endpoint": "rss", "kind": "delay", "probability": 3}, "between 0 and 1"),
    ],
)
def test_wrong_faults_are_refused_by_name(content: dict[str, object], message: str) -> None:
    with pytest.raises(BadConfigurationError, match=message):
        fault_from_dict(content)


def test_a_fault_survives_its_json_form() -> None:
    fault = Fault("alpha_vantage", "late", symbols=["AAPL"], times=3, hours=2)
    again = fault_from_dict(fault.as_dict())
    assert again.as_dict() == fault.as_dict()
    assert again.concerns("alpha_vantage", "AAPL", "", True)
