"""Sentiment of Korean headlines. The headlines are written for these tests.

What belongs here: signs, directions, endings, negation, extremes, the Korean word list.
"""

import csv

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_assets.domain.sentiment import FinanceVader
from quant_assets.domain.sentiment_korean import ROLES, WORD_LIST, KoreanLexicon
from quant_assets.domain.sentiment_lexicon import word_list_bytes

KOREAN = KoreanLexicon()


@pytest.mark.parametrize(
    "text",
    [
        "주가 급등", "코스피 상승 마감", "3분기 흑자전환", "적자 축소", "적자폭 줄어", "흑자 확대",
        "어닝 서프라이즈", "어닝서프라이즈 기록", "목표주가 상향", "목표가 9만원으로 올려",
        "2조원 규모 수주", "52주 신고가", "공장 증설 결정", "매출 30% 늘었다", "비용 절감",
        "예상치 웃돌아", "물가 상승률 둔화", "하락세 진정", "감소폭 축소", "금리 인상 우려 완화",
        "소송 취하", "파업 종료", "횡령 혐의 무죄", "불확실성 해소", "실업률 역대 최저",
        "부채비율 개선", "영업이익 전년比 120%↑", "주가 +4.2%", "자사주 소각", "관세 철회",
    ],
)  # fmt: skip
def test_good_news_scores_above_zero(text: str) -> None:
    assert KOREAN.score(text) >= 0.15


@pytest.mark.parametrize(
    "text",
    [
        "주가 급락", "코스닥 하락 출발", "지난해 적자전환", "적자 확대", "흑자 감소", "흑자폭 축소",
        "어닝 쇼크", "어닝쇼크에 약세", "목표주가 하향", "목표가 5만원으로 낮춰", "물가 상승",
        "특허 소송 피소", "차량 2만대 리콜", "52주 신저가", "반도체 감산", "매출 30% 줄었다",
        "비용 증가", "예상치 밑돌아", "상승세 둔화", "경기 침체 우려 고조", "파업 돌입",
        "사상 최대 적자", "연체율 역대 최고", "연체율 악화", "흑자전환에 실패", "수주 실패",
        "영업이익 전년比 40%↓", "주가 -4.2%", "유상증자 결정", "실적이 기대에 못 미쳤다",
    ],
)  # fmt: skip
def test_bad_news_scores_below_zero(text: str) -> None:
    assert KOREAN.score(text) <= -0.15


@pytest.mark.parametrize(
    "text",
    [
        "정기 주주총회 개최", "신임 대표 선임", "다음 주 실적 발표", "주가 보합", "기준금리 동결",
        "추적자 개봉", "보수주의 논쟁", "삼성화재 사옥 이전", "관람객 줄줄이 입장", "",
    ],
)  # fmt: skip
def test_what_only_looks_like_news_scores_zero(text: str) -> None:
    assert KOREAN.score(text) == 0.0


@pytest.mark.parametrize(
    "ending", ["", "했다", "한", "하며", "할 전망", "해", "된 것으로 나타났다"]
)
def test_endings_do_not_matter(ending: str) -> None:
    assert KOREAN.score(f"매출이 증가{ending}") == KOREAN.score("매출 증가")
    assert KOREAN.score(f"적자가 증가{ending}") == KOREAN.score("적자 증가")


@pytest.mark.parametrize("particle", ["", "이", "은", "도", "의", "만"])
def test_particles_do_not_matter(particle: str) -> None:
    assert KOREAN.score(f"순이익{particle} 감소") == KOREAN.score("순이익 감소") < 0


@pytest.mark.parametrize(
    ("plain", "negated"),
    [
        ("실적이 나쁘다", "실적이 나쁘지 않다"),
        ("우려가 있다", "우려는 없다"),
        ("임상에 성공", "임상에 성공 못했다"),
        ("수요가 회복됐다", "수요가 회복되지 않았다"),
        ("우려했던 리콜", "우려했던 리콜은 없었다"),
        ("주가 안 오르나", "주가 오르나"),
    ],
)
def test_negation_turns_the_sign(plain: str, negated: str) -> None:
    assert KOREAN.score(plain) * KOREAN.score(negated) < 0


def test_the_verb_outweighs_what_led_up_to_it() -> None:
    assert KOREAN.score("호실적에도 주가 하락") < 0 < KOREAN.score("악재에도 주가 상승")
    assert KOREAN.score("매출은 줄었지만 이익은 늘었다") > 0
    assert KOREAN.score("매출은 늘었지만 이익은 줄었다") < 0


def test_larger_moves_score_further_from_zero() -> None:
    moves = [KOREAN.score(f"순이익 {percent}% 감소") for percent in (7, 12, 19)]
    assert moves == sorted(moves, reverse=True)
    assert len(set(moves)) == 3


def test_a_question_tells_little_news() -> None:
    assert abs(KOREAN.score("주가 급락할까?")) < 0.3 * abs(KOREAN.score("주가 급락했다"))


def test_one_scorer_takes_both_languages() -> None:
    scorer = FinanceVader()
    texts = ["주가 급등", "Shares surge", "주가 급락", "Shares plunge"]
    assert list(np.sign(scorer.score(texts))) == [1, 1, -1, -1]
    assert scorer.score(["주가 급등"])[0] == KOREAN.score("주가 급등")
    assert FinanceVader(finance=False).score(["주가 급등"])[0] == 0.0


@given(st.text(alphabet="가흑자적전환급등락감소증않없안…,?%+-1 5에지만세은", max_size=60))
def test_any_text_scores_within_bounds_and_alike_every_time(text: str) -> None:
    found = KOREAN.score(text)
    assert -1.0 <= found <= 1.0
    assert KOREAN.score(text) == found


def test_the_word_list_is_sorted_unique_and_uses_every_role() -> None:
    rows = list(csv.DictReader(word_list_bytes(WORD_LIST).decode("utf-8").splitlines()))
    stems = [row["stem"] for row in rows]
    assert stems == sorted(set(stems))
    assert len(stems) >= 120
    assert {row["role"] for row in rows} - {""} == ROLES
    assert {row["at_word_start"] for row in rows} == {"0", "1"}
    assert all(row["role"] != "skip" or float(row["valence"]) == 0 for row in rows)
