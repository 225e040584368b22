"""Recognition of securities in text. Texts are written for these tests unless said otherwise.

What belongs here: which symbols a text mentions and which it does not, and alias tables.
"""

from importlib import resources
from pathlib import Path

import pandas as pd
import pytest

from quant_assets.domain.tickers import Mention, TickerRecognizer, packaged_aliases
from quant_assets.errors import BadDataError
from quant_assets.markets import Listing


def packaged_universe() -> pd.DataFrame:
    tables = []
    for market in ("us", "kr"):
        path = resources.files("quant_assets.reference") / f"universe_{market}.csv"
        with path.open("rb") as content:
            tables.append(pd.read_csv(content, dtype="str", keep_default_na=False))
    return pd.concat(tables, ignore_index=True)


RECOGNIZER = TickerRecognizer.from_universe(packaged_universe(), packaged_aliases())


def symbols(text: str) -> list[str]:
    return sorted({mention.symbol for mention in RECOGNIZER.find(text)})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Long $AAPL into earnings", "AAPL"),
        ("rt AT_USER summary featuring $ aapl $ wynn $ goog", "AAPL GOOGL"),
        ("$BRK.B and $brk-b are one", "BRK-B"),
        ("$V, $MA.", "MA V"),
        ("$FB is what it was called", "META"),
        ("Apple (NASDAQ: AAPL) and JPMorgan (NYSE: JPM)", "AAPL JPM"),
        ("Chevron  ( NYSE:CVX ) , Boeing  ( NYSE:BA ) ", "BA CVX"),
        ("Results (NasdaqGS: MSFT)", "MSFT"),
        ("Berkshire shares (NYSE: BRK.A)", "BRK-B"),
        ("Chipmaker (KRX: 005930)", "005930.KS"),
        ("Chipmaker (KOSPI: 000660)", "000660.KS"),
        ("Battery maker (KOSDAQ:247540)", "247540.KQ"),
        ("Orders for 005380.KS and 196170.KQ", "005380.KS 196170.KQ"),
    ],
)
def test_codes_are_recognised(text: str, expected: str) -> None:
    assert symbols(text) == expected.split()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Apple shares slip", "AAPL"),
        ("apple stock is cheap", "AAPL"),
        ("Apple's iPhone sells out", "AAPL"),
        ("Apple\u2019s iPhone sells out", "AAPL"),
        ("Apple Inc. is sued", "AAPL"),
        ("Shares of Apple and Visa rise", "AAPL V"),
        ("APPLE UNVEILS NEW PHONE", "AAPL"),
        ("Stocks to watch: Amazon, Alphabet, Apple, Intel & more", "AAPL AMZN GOOGL INTC"),
        ("Visa beats estimates", "V"),
        ("Meta cuts 10,000 jobs", "META"),
        ("Caterpillar earnings top forecasts", "CAT"),
        ("Intel to build plant in Ohio", "INTC"),
        ("Analysts bullish on Chevron", "CVX"),
        ("McDonald\u2019s sales rebound", "MCD"),
        ("Johnson & Johnson settles talc claims", "JNJ"),
        ("GE Aerospace wins engine order", "GE"),
        ("Berkshire Hathaway adds to stake", "BRK-B"),
        ("Google parent Alphabet reports record profit", "GOOGL"),
        ("Samsung Electronics and SK hynix gain", "000660.KS 005930.KS"),
        ("Samsung's profit plunges", "005930.KS"),
        ("Kia recalls 80,000 cars", "000270.KS"),
        ("JPMorgan analysts upgrade Tesla", "TSLA"),
    ],
)
def test_company_names_are_recognised(text: str, expected: str) -> None:
    assert symbols(text) == expected.split()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("삼성전자, 3분기 영업이익 급증", "005930.KS"),
        ("삼성전자는 신제품을 공개했다", "005930.KS"),
        ("삼성전자(005930) 급등", "005930.KS"),
        ("삼성전자·SK하이닉스 동반 강세", "000660.KS 005930.KS"),
        ("현대차·기아, 美 판매 호조", "000270.KS 005380.KS"),
        ("기아 영업이익 사상 최대", "000270.KS"),
        ("LG화학이 배터리 자회사를", "051910.KS"),
        ("NAVER가 인수한다", "035420.KS"),
        ("포스코홀딩스와 한국전력", "005490.KS 015760.KS"),
        ("알테오젠, 에코프로비엠 상승", "196170.KQ 247540.KQ"),
    ],
)
def test_hangul_names_are_recognised_with_their_particles(text: str, expected: str) -> None:
    assert symbols(text) == expected.split()


@pytest.mark.parametrize(
    "text",
    [
        "An apple a day keeps the doctor away",
        "An Apple a Day",
        "Apple pie recipe wins",
        "Visa requirements for travellers change",
        "A visa's validity is ten years",
        "Caterpillar found in garden",
        "Price Target Cut to $5",
        "Meta-analysis of 40 trials",
        "The alphabet has 26 letters",
        "Soldier listed as KIA in action",
        "CAT scan of GE machine by MA and PG",
        "AAPL MSFT NVDA",
        "It costs $5, or $ 7.4 billion, or US$V",
        "Amazon rainforest burns",
        "Nikola Tesla was born in 1856",
        "Samsung Life Insurance to cut costs",
        "Hyundai Steel shares fall",
        "Pineapple shares",
        "Order 005930 shipped",
        "(NYSE: 005930) and (KRX: AAPL)",
        "(NASDAQ: ZZZZ)",
        "카카오뱅크 상장",
        "POSCO퓨처엠 신고가",
        "기아 문제가 심각하다",
        "기아 타이거즈 승리",
    ],
)
def test_other_meanings_and_other_companies_are_not_mentions(text: str) -> None:
    assert symbols(text) == []


def test_mentions_tell_market_kind_and_place() -> None:
    assert RECOGNIZER.find("Tesla (NASDAQ: TSLA) $tsla 005930.KS") == [
        Mention("TSLA", "us", "name", 0),
        Mention("TSLA", "us", "exchange", 7),
        Mention("TSLA", "us", "cashtag", 21),
        Mention("005930.KS", "kr", "code", 27),
    ]


@pytest.mark.parametrize(
    ("ticker", "symbol"),
    [
        ("AAPL", "AAPL"), (" aapl ", "AAPL"), ("BRK.B", "BRK-B"), ("GOOG", "GOOGL"),
        ("005930", "005930.KS"), ("005930.KS", "005930.KS"), ("CRYPTO:BTC", None), ("", None),
    ],
)  # fmt: skip
def test_vendor_tickers_become_symbols_of_the_universe(ticker: str, symbol: str | None) -> None:
    assert RECOGNIZER.canonical(ticker) == symbol


def test_recorded_posts_are_recognised_by_their_cashtags(recorded_data: Path) -> None:
    posts = pd.read_parquet(recorded_data / "recorded" / "news.parquet")
    posts = posts[posts["symbol"] != "BABA"].iloc[::20]
    renamed = posts["symbol"].replace({"FB": "META", "GOOG": "GOOGL"})
    found = [
        symbol in symbols(title) for title, symbol in zip(posts["title"], renamed, strict=True)
    ]
    assert sum(found) / len(found) > 0.995


def small_universe(name: str) -> pd.DataFrame:
    return pd.DataFrame({"symbol": ["PINE"], "yahoo_symbol": ["PINE"], "name": [name]})


def aliases(*rows: tuple[str, str, str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["symbol", "alias", "needs_context"])


def test_a_name_of_one_word_needs_context_unless_its_alias_says_otherwise() -> None:
    cautious = TickerRecognizer.from_universe(small_universe("Pine"), aliases())
    assert not cautious.find("Pine and oak")
    assert cautious.find("Pine shares rise")
    trusting = TickerRecognizer.from_universe(
        small_universe("Pine"), aliases(("PINE", "Pine", "0"))
    )
    assert trusting.find("Pine and oak")
    assert TickerRecognizer.from_universe(small_universe("Pine Tree"), aliases()).find("Pine Tree")


def test_the_longest_name_wins() -> None:
    recognizer = TickerRecognizer.from_universe(
        pd.DataFrame(
            {"symbol": ["A", "B"], "yahoo_symbol": ["A", "B"], "name": ["LG One", "LG One Two"]}
        ),
        aliases(("", "LG One Three", "0")),
    )
    assert [m.symbol for m in recognizer.find("LG One Two, LG One, LG One Three")] == ["B", "A"]


def test_aliases_of_other_universes_are_left_out() -> None:
    recognizer = TickerRecognizer.from_universe(small_universe("Pine Tree"), packaged_aliases())
    assert recognizer.find("Microsoft $MSFT $PINE") == [Mention("PINE", "us", "cashtag", 16)]


@pytest.mark.parametrize("row", [("PINE", "Pine", "yes"), ("PINE", "", "0")])
def test_a_bad_alias_row_is_refused_by_name(row: tuple[str, str, str]) -> None:
    with pytest.raises(BadDataError, match="PINE"):
        TickerRecognizer.from_universe(small_universe("Pine"), aliases(row))


def test_every_packaged_alias_belongs_to_the_packaged_universe() -> None:
    table = packaged_aliases()
    assert set(table["symbol"]) - {""} <= set(packaged_universe()["yahoo_symbol"])
    assert not table["alias"].duplicated().any()
    assert set(table["needs_context"]) == {"0", "1"}


def test_listings_are_recognised_with_the_packaged_aliases() -> None:
    listings = [
        Listing("META", "META", "Meta Platforms", "Communication Services"),
        Listing("005930.KS", "005930.KS", "Samsung Electronics", "Information Technology"),
    ]
    recognizer = TickerRecognizer.for_listings(listings)
    assert [m.symbol for m in recognizer.find("Facebook and 삼성전자")] == ["META", "005930.KS"]
