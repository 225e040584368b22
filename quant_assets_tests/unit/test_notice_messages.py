"""Messages in Slack's form: hostile text does nothing, and no limit is broken."""

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_assets.notices.message import (
    MAX_BLOCKS_JSON,
    Message,
    bold,
    clip,
    code,
    context,
    escape,
    fitting,
    header,
    joined,
    length,
    link,
    message,
    section,
    table,
)
from quant_assets.notices.monospace import width
from quant_assets.sandbox import slack_blocks

HOSTILE = (
    "<!channel> <@U123> <#C123|x> <https://evil.example|click> & ```code`` *b* _i_ ~s~\n"
    "\u202egnp.exe\u202c \x00\x07\x1b[31m red \u2066x\u2069 :boom: \ud800 > quote | `tick`"
)
FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
texts = st.text(
    st.one_of(
        st.characters(codec="utf-8"),
        st.sampled_from("<>&`*_~|@#!\n\r\t\u202e\u200d\ufe0f\u0301\u1112\u1161\u11ab가\U0001f1f0"),
    ),
    max_size=400,
)


def accepted(*messages: Message) -> None:
    """Slack's own checks, as the sandbox has them."""
    for one in messages:
        assert one.text.strip()
        slack_blocks.content({"text": one.text, "blocks": [dict(block) for block in one.blocks]})


def test_hostile_text_does_nothing() -> None:
    shown = escape(HOSTILE)
    assert not re.search(r"[<>]", shown)
    assert "&lt;!channel&gt; &lt;@U123&gt;" in shown
    assert "&amp; '''code''" in shown
    assert "```" not in shown
    assert not re.search(r"[\x00-\x08\x1b\u202a-\u202e\u2066-\u2069\ud800-\udfff]", shown)
    assert shown.encode()


def test_text_of_blocks_makes_no_mentions_or_links_of_words() -> None:
    for block in (section("@channel see http://a.example"), context("#general")):
        for text in [block["text"]] if "text" in block else block["elements"]:
            assert text["verbatim"] is True


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (bold("a < b\nc"), "*a &lt; b c*"),
        (bold(" "), ""),
        (code("x`y & z"), "`x'y &amp; z`"),
        (code(""), ""),
        (link("https://a.example/r/1", "run 1"), "<https://a.example/r/1|run 1>"),
        (
            link("http://a.example/x|y>z<?q=a b&c=가", "la|b<e>l`"),
            "<http://a.example/x%7Cy%3Ez%3C?q=ab&amp;c=%EA%B0%80|la¦b&lt;e&gt;l'>",
        ),
        (link("javascript:alert(1)", "run"), "run"),
        (link("file:///etc/passwd", "<run>"), "&lt;run&gt;"),
        (link("https://[broken", "run"), "run"),
        (link("https://", "run"), "run"),
        (link("https://a.example/" + "x" * 3000, "run"), "run"),
        (link("https://a.example", ""), "<https://a.example|–>"),
    ],
)
def test_formatted_text(given: str, expected: str) -> None:
    assert given == expected


@pytest.mark.parametrize(
    ("text", "limit", "expected"),
    [
        ("short", 5, "short"),
        ("longer", 5, "long…"),
        ("ab &amp; cd", 7, "ab…"),
        ("ab &amp; cd", 9, "ab &amp;…"),
        ("ab <https://a.example|label> cd", 20, "ab…"),
        ("e\u0301e\u0301", 3, "e\u0301…"),
        ("ab" + FAMILY + "cd", 6, "ab…"),
        ("\U0001f1f0\U0001f1f7\U0001f1fa\U0001f1f8", 7, "\U0001f1f0\U0001f1f7…"),
        ("\u1112\u1161\u11ab\u1112\u1161\u11ab", 5, "\u1112\u1161\u11ab…"),
        ("words and more", 7, "words…"),
        ("```\nabcdefghijkl\n```", 15, "```\nabcdef…\n```"),
        ("anything", 1, "…"),
        ("anything", 0, ""),
    ],
)
def test_a_cut_goes_through_nothing(text: str, limit: int, expected: str) -> None:
    assert clip(text, limit) == expected


@given(texts, st.integers(0, 60))
def test_what_is_clipped_fits_and_stays_escaped(text: str, limit: int) -> None:
    shown = clip(escape(text), limit)
    assert length(shown) <= limit
    assert "&" not in re.sub(r"&(?:amp|lt|gt);", "", shown)


@given(texts, texts)
def test_any_text_makes_a_message_that_slack_takes(text: str, other: str) -> None:
    long = text * 40
    accepted(
        message(
            header(long),
            section(bold(text) + escape(long)),
            context(escape(text), code(other), link(f"https://a.example/{other}", text)),
            *table([text, "n"], [[other, 1.5], [long, None]], title=text),
            text=escape(long),
        ),
        message(text=escape(text)),
        message(section(escape(text)), text=other),
    )


def test_every_limit_is_kept() -> None:
    many = [section("x" * 5000)] * 60
    accepted(
        message(*many, text="x" * 50_000),
        message(*[section("x")] * 80, text="many"),
        message(header("y" * 500), context(*["z" * 4000] * 30), text="wide"),
        message(section("\U0001f600" * 3000), text="\U0001f600" * 3000),
    )
    cut = message(*[section("x")] * 80, text="many")
    assert len(cut.blocks) == 50
    assert (
        cut.blocks[-1]["elements"][0]["text"] == "… and 31 more that did not fit into this message"
    )
    assert context(*["a"] * 12)["elements"][9]["text"] == "… and 3 more"


def test_nothing_is_a_dash() -> None:
    accepted(message(header(" "), section("\n"), context("", " "), text=" "))
    assert section("")["text"]["text"] == "–"
    assert table(["a"], []) == []


def rows_of(blocks: list) -> list[str]:
    (block,) = blocks
    return block["text"]["text"].split("```")[1].strip("\n").split("\n")


def test_a_table_is_aligned() -> None:
    shown = table(
        ["symbol", "name", "score", "change"],
        [
            ["AAPL", "Apple", 0.5, "+1.2%"],
            ["005930.KS", "삼성전자", -12.25, "-10.0%"],
            ["X", "", None],
        ],
        title="Top <2>",
    )
    assert shown[0]["text"]["text"].startswith("*Top &lt;2&gt;*\n```\n")
    assert rows_of(shown) == [
        "symbol     name       score  change",
        "AAPL       Apple       0.50   +1.2%",
        "005930.KS  삼성전자  -12.25  -10.0%",
        "X          –              –       –",
    ]
    assert {width(line) for line in rows_of(shown)} == {35}


def test_foreign_text_does_not_end_a_table() -> None:
    text = table(["a"], [["``` <!here> \n x"]])[0]["text"]["text"]
    assert text.count("```") == 2
    assert "''' &lt;!here&gt; x" in text


def test_a_long_table_says_what_it_leaves_out() -> None:
    text = table(["symbol", "name"], [[f"S{i:04}", "<&>" * 10] for i in range(300)])[0]["text"][
        "text"
    ]
    shown = text.count("\nS")
    assert text.endswith(f"```\n… and {300 - shown} more")
    assert 10 < shown < 300
    assert len(text) <= 3000


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(1, 4000)), max_size=12))
def test_joined_messages_keep_content_order_and_limits(shapes: list[tuple[int, int]]) -> None:
    messages = [
        message(*[section(f"{i}." + "x" * size)] * count, text=f"text {i}")
        for i, (count, size) in enumerate(shapes)
    ]
    together = joined(messages)
    accepted(*together)
    assert [b for m in together for b in m.blocks] == [b for m in messages for b in m.blocks]
    assert "\n".join(m.text for m in together) == "\n".join(m.text for m in messages)
    for earlier, later in pairwise(together):
        assert fitting([earlier, later]) == 1


def test_short_messages_become_one() -> None:
    assert len(joined([message(text=f"step {i}") for i in range(50)])) == 1
    assert len(joined([message(text=f"step {i}") for i in range(51)])) == 2
    big = message(section("x" * 2900), text="big")
    assert 2 * 2900 < MAX_BLOCKS_JSON < 4 * 2900
    assert [len(m.blocks) for m in joined([big] * 4)] == [3, 1]
