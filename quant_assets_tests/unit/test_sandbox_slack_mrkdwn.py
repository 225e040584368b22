"""Slack's mark-up on the sandbox's page: what it shows, and that no text becomes markup of ours."""

from html.parser import HTMLParser

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from quant_assets.sandbox.slack_mrkdwn import blocks_html, mrkdwn, plain

ALLOWED = {"strong", "em", "del", "code", "pre", "blockquote", "a", "span"}
PIECES = (
    "*", "_", "~", "`", "```", "<", ">", "|", "&", "&lt;", "&gt;", "&amp;", "\n", " ", '"', "'",
    "https://a.example/", "javascript:alert(1)", "<https://a.example|b>", " onclick=alert(1) ",
    "<script>", "</a>", "<img src=x onerror=y>", "<!channel>", "<@U1>", "<#C1|x>", "<!date^1^x|y>",
    ":x:", ":warning:", "\ue000", "\ue0000\ue001", "\ue001", "삼성", "0", "word", "=",
)  # fmt: skip


class Tags(HTMLParser):
    """Every tag of a text, and its attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.shown = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.shown += data


@example("https://x/<https://y onclick=alert(1) |z>w")
@example("<https://x/`c`|z>")
@example("`a ```b``` c`")
@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=24).map("".join))
def test_no_text_becomes_markup(text: str) -> None:
    assert not set(mrkdwn(text)) & {"\ue000", "\ue001"}
    for html in (mrkdwn(text), plain(text)):
        for tag, attributes in Tags(html).found:
            assert tag in ALLOWED
            assert set(attributes) <= {"href", "target", "rel", "class", "title"}
            if tag == "a":
                assert set(attributes) == {"href", "target", "rel"}
                assert str(attributes["href"]).startswith(("http://", "https://"))


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("*bold* _it_ ~no~ `a*b*`", "<strong>bold</strong> <em>it</em> <del>no</del>"),
        ("`a*b*`", "<code>a*b*</code>"),
        ("a snake_case_name 2*3*4 ~/x ~", "a snake_case_name 2*3*4 ~/x ~"),
        ("*_both_*", "<strong><em>both</em></strong>"),
        ("a\n```\nx  1\n*y*\n```\nb", "a<pre>x  1\n*y*</pre>b"),
        ("&gt; one\n&gt; two\nthree", "<blockquote>one\ntwo</blockquote>three"),
        ("&lt;b&gt; &amp;amp;", "&lt;b&gt; &amp;amp;"),
        ("<b> 12:30:45 :nope:", "&lt;b&gt; 12:30:45 :nope:"),
        ("<!channel> <#C1|runs>", '<span class="mention">@channel</span>'),
        (":white_check_mark: ok", '<span class="sign good" title=":white_check_mark:">✔</span> ok'),
        ("```한```", '<pre><span class="wide">한</span></pre>'),
    ],
)
def test_what_is_shown(text: str, html: str) -> None:
    assert html in mrkdwn(text)


@pytest.mark.parametrize(
    ("text", "address", "shown"),
    [
        ("<https://a.example/x?b=1&amp;c=2|the *run*>", "https://a.example/x?b=1&c=2", "the *run*"),
        ("<https://a.example>", "https://a.example", "https://a.example"),
        ("see https://a.example/x.", "https://a.example/x", "https://a.example/x"),
        ('<https://a.example/" onclick="x|y>', 'https://a.example/" onclick="x', "y"),
    ],
)
def test_links(text: str, address: str, shown: str) -> None:
    tags = Tags(mrkdwn(text))
    assert [attributes["href"] for tag, attributes in tags.found if tag == "a"] == [address]
    assert shown in tags.shown


@pytest.mark.parametrize("text", ["<javascript:alert(1)|x>", "<data:text/html,x|y>", "<ftp://a|b>"])
def test_other_links_are_plain_text(text: str) -> None:
    assert Tags(mrkdwn(text)).found == []
    assert Tags(mrkdwn(text)).shown == text


def test_a_verbatim_text_links_only_what_is_marked() -> None:
    html = mrkdwn("https://a.example <https://b.example|b>", is_verbatim=True)
    assert [attributes.get("href") for _, attributes in Tags(html).found] == ["https://b.example"]
    text = {"type": "mrkdwn", "text": "https://a.example", "verbatim": True}
    assert "<a" not in blocks_html([{"type": "section", "text": text}])


def test_blocks_show_all_their_texts() -> None:
    def text(content: str) -> dict[str, str]:
        return {"type": "mrkdwn", "text": content}

    html = blocks_html(
        [
            {"type": "header", "text": {"type": "plain_text", "text": "*head* <x>"}},
            {"type": "section", "text": text("*body*"), "fields": [text("one"), text("two")]},
            {"type": "divider"},
            {"type": "context", "elements": [text("small")]},
            {"type": "image", "image_url": "https://a.example/p.png", "alt_text": "<pic>"},
            {"type": "image", "image_url": "javascript:x", "alt_text": "no link"},
        ]
    )
    shown = Tags(html)
    for part in ("*head* <x>", "body", "one", "two", "small", "<pic>", "no link"):
        assert part in shown.shown
    assert "<strong>body</strong>" in html
    assert [tag for tag, _ in shown.found].count("a") == 1
    assert "img" not in [tag for tag, _ in shown.found]
