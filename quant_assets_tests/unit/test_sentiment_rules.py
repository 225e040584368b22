"""Rules between the words of English headlines, and the version that names them.

The headlines are written for these tests. What belongs here: figures held against expectations,
what ends, heads of phrases, negation from afar, clauses, questions, versions.
"""

from pathlib import Path

import pytest

from quant_assets.domain import sentiment
from quant_assets.domain.sentiment import RULE_MODULES, FinanceVader, digest_of, is_korean
from quant_assets.domain.sentiment_korean import WORD_LIST as KOREAN_WORD_LIST
from quant_assets.domain.sentiment_lexicon import WORD_LIST, word_rows
from quant_assets.errors import BadDataError

FINANCE = FinanceVader()


def score(text: str) -> float:
    return float(FINANCE.score([text])[0])


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ("Airline cuts costs", "Airline cuts guidance"),
        ("Price target raised to $90", "Price target cut to $70"),
        ("Company raises guidance", "Company faces rising costs"),
        ("Retailer beats estimates", "Retailer misses estimates"),
        ("Upgraded to outperform", "Downgraded to underperform"),
        ("Bank raises dividend", "Bank's debt rises"),
        ("Net loss narrowed", "Net loss widened"),
        ("Profit rose 12%", "Profit fell 12%"),
        ("Boosts guidance", "Withdraws guidance"),
    ],
)
def test_what_is_cut_or_raised_decides(good: str, bad: str) -> None:
    assert score(good) >= 0.15
    assert score(bad) <= -0.15


@pytest.mark.parametrize(
    ("text", "sign"),
    [
        ("EPS of $2.10 vs. $1.95 expected", 1),
        ("EPS of $1.80 vs. $1.95 expected", -1),
        ("Revenue of $5.2 billion versus $5.6 billion consensus", -1),
        ("Net loss of $0.10 vs. $0.25 expected", 1),
        ("EPS of $1.95 vs. $1.95 expected", 0),
        ("EPS of $2.10 vs. $1.95 a year ago", 0),
    ],
)
def test_a_figure_is_held_against_the_expected_one(text: str, sign: int) -> None:
    found = score(text)
    assert (found > 0.3) - (found < -0.3) == sign


def test_what_was_merely_expected_does_not_count() -> None:
    assert score("Sales slipped 1%, against forecasts for a 9% gain") <= -0.15
    assert score("Sales rose 1%, compared with expectations of a 9% drop") >= 0.15


@pytest.mark.parametrize(
    ("over", "begun"),
    [
        ("Watchdog closes investigation into the lender", "Watchdog opens investigation"),
        ("Airline settles lawsuit", "Airline faces lawsuit"),
        ("Shares recoup losses", "Shares extend losses"),
    ],
)
def test_the_end_of_a_burden_is_good(over: str, begun: str) -> None:
    assert score(over) > 0 > score(begun)


@pytest.mark.parametrize("text", ["Markets close for the holiday", "The fiscal year ends in June"])
def test_an_end_of_anything_else_says_nothing(text: str) -> None:
    assert score(text) == 0.0


def test_the_head_of_a_phrase_moves_and_not_what_it_is_of() -> None:
    assert score("Short interest in the stock has fallen") > 0
    assert score("Demand for the stock has fallen") < 0


def test_negation_reaches_its_object_within_the_clause() -> None:
    assert score("The maker does not see in its new report any weakness") > 0
    assert score("The maker does see in its new report some weakness") < 0
    assert score("The maker does not say more about it, weakness persists") < 0
    assert score("The maker does not hire people here and weakness persists") < 0


@pytest.mark.parametrize(
    "text",
    [
        "Shares sink 6% despite record profit",
        "Shares sink 6% although profit beat forecasts",
        "Shares sink 6% after a rally",
    ],
)
def test_the_main_clause_outweighs_what_it_follows_upon(text: str) -> None:
    assert score(text) <= -0.15


def test_a_clause_that_is_all_the_news_keeps_its_weight() -> None:
    assert score("After record profit") == score("On record profit")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("Will profit plunge?", "Profit will plunge"),
        ("How to profit from a crash", "Investors profit from a crash"),
        ("5 things to know about the crash", "They know about the crash"),
    ],
)
def test_questions_and_advice_tell_little_news(asked: str, said: str) -> None:
    assert abs(score(asked)) <= 0.3 * abs(score(said))


def test_a_question_behind_a_statement_leaves_the_statement() -> None:
    assert score("Profit plunges 20%. What now?") <= -0.15


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("삼성전자 주가 급등", True),
        ("SK하이닉스 HBM 공급", True),
        ("NAVER 실적", True),
        ("Samsung Electronics (삼성전자) profit rises", False),
        ("Profit rises", False),
        ("2024 - 15%", False),
        ("", False),
    ],
)
def test_the_language_is_told_by_the_script(text: str, expected: bool) -> None:
    assert is_korean(text) is expected


def test_every_module_of_rules_counts_for_the_version() -> None:
    folder = Path(sentiment.__file__).parent
    modules = {path.stem for path in folder.glob("sentiment*.py")}
    assert modules == {*RULE_MODULES, "sentiment_model"}


@pytest.mark.parametrize("changed", [*RULE_MODULES, WORD_LIST, KOREAN_WORD_LIST])
def test_the_version_moves_with_every_rule_and_list(
    monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    rule_source, word_list_bytes = sentiment.rule_source, sentiment.word_list_bytes

    def edited_source(name: str) -> bytes:
        return rule_source(name) + (b"\nX = 1\n" if name == changed else b"")

    def edited_list(name: str) -> bytes:
        return word_list_bytes(name) + (b"zz,1,\n" if name == changed else b"")

    monkeypatch.setattr(sentiment, "rule_source", edited_source)
    monkeypatch.setattr(sentiment, "word_list_bytes", edited_list)
    sentiment._digests.cache_clear()
    try:
        version = FinanceVader().version
    finally:
        sentiment._digests.cache_clear()
    assert version != FINANCE.version
    assert FinanceVader(finance=False).version == "vader-3.3.2"


def test_the_version_does_not_depend_on_line_endings() -> None:
    assert digest_of([b"a\r\nb\r\n"]) == digest_of([b"a\nb\n"])
    assert digest_of([b"a", b"b"]) != digest_of([b"ab"])


@pytest.mark.parametrize(
    "line", ["good,5,", "good,x,", "good,1,boss", ",1,", "fine,1,\nfine,2,goal"]
)
def test_a_bad_line_of_a_word_list_is_refused(monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    content = f"word,valence,role\nbad,-1,\n{line}\n".encode()
    monkeypatch.setattr(
        "quant_assets.domain.sentiment_lexicon.word_list_bytes", lambda name: content
    )
    with pytest.raises(BadDataError, match=r"list\.csv line [34]"):
        list(word_rows("list.csv", "word", frozenset({"goal"})))
