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


USUAL_NAMES = {
    "AAPL": "Apple|Apple Inc|애플",
    "MSFT": "Microsoft|Microsoft Corp|마이크로소프트",
    "NVDA": "Nvidia|NVIDIA Corp|엔비디아",
    "AMZN": "Amazon|Amazon.com|아마존",
    "GOOGL": "Alphabet|Google|구글",
    "META": "Meta|Meta Platforms|Facebook|메타",
    "TSLA": "Tesla|테슬라",
    "BRK-B": "Berkshire|Berkshire Hathaway|버크셔해서웨이",
    "JPM": "JPMorgan|JP Morgan|JPMorgan Chase|JP모건",
    "V": "Visa|Visa Inc|비자",
    "MA": "Mastercard|마스터카드",
    "UNH": "UnitedHealth|UnitedHealth Group|유나이티드헬스",
    "JNJ": "Johnson & Johnson|J&J|존슨앤드존슨",
    "LLY": "Eli Lilly|Lilly|일라이릴리",
    "XOM": "Exxon|ExxonMobil|Exxon Mobil|엑손모빌",
    "CVX": "Chevron|셰브론",
    "PG": "Procter & Gamble|P&G|프록터앤드갬블",
    "KO": "Coca-Cola|Coca Cola|Coke|코카콜라",
    "PEP": "PepsiCo|Pepsi|펩시코",
    "COST": "Costco|코스트코",
    "WMT": "Walmart|Wal-Mart|월마트",
    "HD": "Home Depot|홈디포",
    "MCD": "McDonald's|McDonalds|맥도날드",
    "DIS": "Disney|Walt Disney|디즈니",
    "NFLX": "Netflix|넷플릭스",
    "AMD": "AMD|Advanced Micro Devices",
    "INTC": "Intel|인텔",
    "BA": "Boeing|보잉",
    "CAT": "Caterpillar|캐터필러",
    "GE": "GE Aerospace|General Electric|GE에어로스페이스",
    "005930.KS": "Samsung Electronics|Samsung|삼성전자|삼전",
    "000660.KS": "SK hynix|SK Hynix|Hynix|SK하이닉스|하이닉스|에스케이하이닉스",
    "373220.KS": "LG Energy Solution|LGES|LG에너지솔루션|LG엔솔|엔솔",
    "207940.KS": "Samsung Biologics|삼성바이오로직스|삼성바이오|삼바",
    "005380.KS": "Hyundai Motor|Hyundai|현대차|현대자동차|현차",
    "000270.KS": "Kia|Kia Motors|기아|기아차",
    "068270.KS": "Celltrion|셀트리온",
    "105560.KS": "KB Financial|KB Financial Group|KB금융|KB금융지주",
    "055550.KS": "Shinhan Financial Group|Shinhan|신한지주|신한금융|신한금융지주",
    "005490.KS": "POSCO Holdings|Posco|포스코홀딩스|포스코|POSCO홀딩스",
    "035420.KS": "NAVER|Naver|네이버",
    "035720.KS": "Kakao|카카오",
    "051910.KS": "LG Chem|LG화학",
    "006400.KS": "Samsung SDI|삼성SDI",
    "012330.KS": "Hyundai Mobis|현대모비스|모비스",
    "028260.KS": "Samsung C&T|삼성물산",
    "066570.KS": "LG Electronics|LG전자",
    "015760.KS": "Korea Electric Power|KEPCO|한국전력|한전",
    "247540.KQ": "EcoPro BM|Ecopro BM|에코프로비엠",
    "196170.KQ": "Alteogen|알테오젠",
}


def test_the_usual_names_cover_both_universes() -> None:
    assert set(USUAL_NAMES) == set(packaged_universe()["symbol"])
    korean = [names for symbol, names in USUAL_NAMES.items() if "." in symbol]
    assert all(any("가" <= char <= "힣" for char in names) for names in korean)


@pytest.mark.parametrize(
    ("symbol", "name"),
    [(symbol, name) for symbol, names in USUAL_NAMES.items() for name in names.split("|")],
)
def test_every_listing_is_recognised_by_its_usual_names(symbol: str, name: str) -> None:
    is_hangul = any("가" <= char <= "힣" for char in name)
    sentences = (
        [f"{name} 주가 급등", f"외국인, {name} 실적에 주목"]
        if is_hangul
        else [f"{name} shares rose on Monday", f"Analysts are bullish on {name}"]
    )
    assert [symbols(sentence) for sentence in sentences] == [[symbol], [symbol]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("하이닉스에서도 감산", "000660.KS"),
        ("삼성전자와의 격차", "005930.KS"),
        ("네이버로부터 투자 유치", "035420.KS"),
        ("현대차나 기아차 등", "000270.KS 005380.KS"),
        ("카카오톡 먹통", "035720.KS"),
        ("엔비디아·테슬라 급락", "NVDA TSLA"),
        ("삼성바이오, 위탁생산 수주", "207940.KS"),
        ("메타 실적 호조에 알파벳 주가도 상승", "GOOGL META"),
    ],
)
def test_more_endings_and_short_forms(text: str, expected: str) -> None:
    assert symbols(text) == expected.split()


@pytest.mark.parametrize(
    "text",
    [
        "삼성 사장단 인사",
        "삼성그룹 총수 일가",
        "삼성생명 배당 확대",
        "삼성바이오에피스 분할",
        "삼성전자우 신고가",
        "현대차증권 실적",
        "현대건설 수주",
        "대한전선 수주",
        "한전기술 급등",
        "SK텔레콤 배당",
        "LG 지배구조",
        "LG생활건강 주가",
        "에코프로 주가 급락",
        "기아 대책 회의",
        "비자 발급 지연",
        "메타 분석 결과",
        "알파벳 순서로",
        "애플망고 수입 증가",
        "아마존 열대우림 파괴",
        "카카오 열매 작황 부진",
        "네이버 블로그 인기 글",
        "Samsung Group reshuffles its affiliates",
        "Hyundai Card names new chief",
        "EcoPro shares slide",
        "SK Telecom raises dividend",
        "LG Display narrows loss",
        "Naver Webtoon lists in New York",
        "The minister said in a Facebook post",
        "A YouTube video went viral",
        "Amazon tribes protest",
        "Visa applications pile up",
        "A chevron on the sleeve",
        "The Chevron doctrine was overturned",
        "Tesla coils hum at the museum",
        "Snow in Berkshire County",
        "Military intel suggests otherwise",
    ],
)
def test_neighbours_of_the_universe_are_not_mentions(text: str) -> None:
    assert symbols(text) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Gap shares jump", ["GPS"]),
        ("Target (NYSE: TGT) trims forecast", ["TGT"]),
        ("Target's sales slump", ["TGT"]),
        ("The gap between rich and poor widens", []),
        ("Price target raised to $80", []),
        ("Inflation target is out of reach", []),
        ("Mind the Gap", []),
        ("TGT GPS", []),
    ],
)
def test_names_that_are_ordinary_words_need_a_company_around_them(
    text: str, expected: list[str]
) -> None:
    shops = pd.DataFrame(
        {"symbol": ["GPS", "TGT"], "yahoo_symbol": ["GPS", "TGT"], "name": ["Gap", "Target"]}
    )
    recognizer = TickerRecognizer.from_universe(shops, packaged_aliases())
    assert sorted({mention.symbol for mention in recognizer.find(text)}) == expected


def test_no_alias_is_a_bare_ticker_without_context() -> None:
    """Upper-case codes of a universe name nothing by themselves; the few names so spelled may."""
    table = packaged_aliases()
    codes = set(packaged_universe()["symbol"])
    bare = table[(table["symbol"] != "") & table["alias"].isin(codes)]
    assert set(bare["needs_context"]) <= {"1"}


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
