"""The simulated Slack of a home: what survives its sandbox, and the page made of it."""

import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path

import pytest
import requests
from rich.console import Console
from slack_sdk import WebClient

from quant_assets.cli.run import _print_places
from quant_assets.sandbox import locate, slack_archive, slack_export
from quant_assets.sandbox.server import Sandbox
from quant_assets.sandbox.slack_archive import FOLDER_NAME, read_workspace, retained
from quant_assets.sandbox.slack_export import PAGE_NAME, publish
from quant_assets.sandbox.slack_workspace import Message
from quant_assets.settings import read_settings

NOW = datetime(2026, 6, 16, 22, 0, tzinfo=UTC)
PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(64)
DEADLINE_SECONDS = 600.0
POSTING = """
import sys
from pathlib import Path
from slack_sdk import WebClient
from quant_assets.sandbox.server import Sandbox

sandbox = Sandbox(home=Path(sys.argv[1]))
sandbox.slack.messages_per_second = None
client = WebClient(token="xoxb-test", base_url=f"{sandbox.start()}/api/", retry_handlers=[])
root = client.chat_postMessage(channel="#quant", text=f"{sys.argv[2]} root")
for number in range(1_000_000):
    text = f"{sys.argv[2]} {number} " + "x" * 500
    posted = client.chat_postMessage(channel=root["channel"], text=text, thread_ts=root["ts"])
    client.chat_update(channel=root["channel"], ts=root["ts"], text=f"{sys.argv[2]} root {number}")
    print(posted["ts"], flush=True)
"""


def sandbox_of(home: Path, now: datetime = NOW) -> Sandbox:
    sandbox = Sandbox(home=home, now=lambda: now)
    sandbox.slack.messages_per_second = None
    return sandbox


def client_of(sandbox: Sandbox) -> WebClient:
    return WebClient(token="xoxb-test", base_url=f"{sandbox.url}/api/", retry_handlers=[])


def texts(home: Path) -> list[str]:
    return [message.text for message in read_workspace(home)]


def log_of(home: Path) -> Path:
    return home / FOLDER_NAME / "messages.jsonl"


def test_the_next_sandbox_goes_on_with_the_thread(tmp_path: Path) -> None:
    metadata = {"event_type": "quant_notice", "event_payload": {"thread": "run 1"}}
    with sandbox_of(tmp_path) as sandbox:
        client = client_of(sandbox)
        root = client.chat_postMessage(channel="#quant", text="started", metadata=metadata)
        gone = client.chat_postMessage(channel="#quant", text="gone")
        client.chat_delete(channel=gone["channel"], ts=gone["ts"])
        client.chat_update(channel=root["channel"], ts=root["ts"], text="done")
        client.files_upload_v2(
            channel=root["channel"], thread_ts=root["ts"], filename="a.png", content=PICTURE
        )
    with sandbox_of(tmp_path) as sandbox:
        client = client_of(sandbox)
        again = client.chat_postMessage(
            channel=root["channel"], thread_ts=root["ts"], text="a reply of the next sandbox"
        )
        client.files_upload_v2(
            channel=root["channel"], thread_ts=root["ts"], filename="b.png", content=PICTURE + b"b"
        )
        thread = client.conversations_replies(
            channel=root["channel"], ts=root["ts"], include_all_metadata=True
        )["messages"]
        first, picture, reply, second = thread
        assert (first["text"], first["metadata"]) == ("done", metadata)
        assert reply["ts"] == again["ts"] > picture["ts"] > first["ts"]
        contents = [
            requests.get(f"{sandbox.url}/slack/files/{m['files'][0]['id']}", timeout=5).content
            for m in (picture, second)
        ]
        assert contents == [PICTURE, PICTURE + b"b"]
    assert "gone" not in texts(tmp_path)


def test_without_a_home_nothing_is_kept(tmp_path: Path) -> None:
    address = locate.ensure(tmp_path, seed=3, data_dir=None)
    client = WebClient(token="xoxb-test", base_url=f"{address}/api/", retry_handlers=[])
    client.chat_postMessage(channel="#quant", text="of this process only")
    assert not (tmp_path / FOLDER_NAME).exists()
    assert publish(tmp_path) is None


def test_a_shared_sandbox_keeps_its_slack(tmp_path: Path) -> None:
    for _ in range(2):
        with locate.shared(tmp_path, seed=3, data_dir=None) as address:
            client = WebClient(token="xoxb-test", base_url=f"{address}/api/", retry_handlers=[])
            client.chat_postMessage(channel="#quant", text="told")
    assert texts(tmp_path) == ["told", "told"]


def test_a_kill_loses_nothing_that_slack_had_confirmed(tmp_path: Path) -> None:
    confirmed: list[str] = []
    for name in ("first", "second"):
        process = subprocess.Popen(
            [sys.executable, "-c", POSTING, str(tmp_path), name], stdout=subprocess.PIPE, text=True
        )
        try:
            assert process.stdout is not None
            confirmed += [process.stdout.readline().strip() for _ in range(25)]
        finally:
            os.kill(process.pid, signal.SIGKILL)
            rest, _ = process.communicate(timeout=DEADLINE_SECONDS)
        confirmed += [line for line in rest.splitlines() if len(line) == 17]
    assert all(confirmed)
    kept = {message.ts: message for message in read_workspace(tmp_path)}
    assert set(confirmed) <= set(kept)
    roots = [message for message in kept.values() if not message.is_reply]
    assert [root.text.split()[0] for root in roots] == ["first", "second"]
    assert all(root.edits >= 24 for root in roots)
    assert len(kept) - len(roots) - len(confirmed) in (0, 1, 2)


@pytest.mark.parametrize("cut", [1, 30])
def test_a_torn_last_line_is_ignored_and_mended(tmp_path: Path, cut: int) -> None:
    with sandbox_of(tmp_path) as sandbox:
        for text in ("whole", "torn"):
            client_of(sandbox).chat_postMessage(channel="#quant", text=text)
    log = log_of(tmp_path)
    log.write_bytes(log.read_bytes()[: -1 - cut])
    assert texts(tmp_path) == ["whole"]
    with sandbox_of(tmp_path) as sandbox:
        client_of(sandbox).chat_postMessage(channel="#quant", text="after")
    assert texts(tmp_path) == ["whole", "after"]
    assert all(json.loads(line) for line in log.read_text().splitlines())


def test_foreign_lines_are_ignored(tmp_path: Path) -> None:
    with sandbox_of(tmp_path) as sandbox:
        client_of(sandbox).chat_postMessage(channel="#quant", text="ours")
    record = json.loads(log_of(tmp_path).read_text())
    outside = record | {"ts": "1781647200.000009", "files": [["../../x", "x", 1, "x"]]}
    bad_time = record | {"ts": "../x"}
    lines = ["[]", "7", "null", '{"ts": 1}', '{"deleted": 1}', "\x00", json.dumps(outside)]
    with log_of(tmp_path).open("a") as log:
        log.write("\n".join([*lines, json.dumps(bad_time)]) + "\n")
    assert texts(tmp_path) == ["ours"]


TAMPERED = {
    "endless": '"edits": Infinity',
    "deep": f'"blocks": {"[" * 100_000}{"]" * 100_000}',
    "rather deep": f'"blocks": {"[" * 300}{"]" * 300}',
    "name": '"files": [["F00000001", 5, 1, 5]]',
    "length": '"files": [["F00000001", "a", Infinity, "a"]]',
    "file": f'"files": [["F{"1" * 5000}", "a", 1, "a"]]',
    "fields": '"blocks": [{"type": "section", "fields": 5}]',
    "accessory": '"blocks": [{"type": "section", "accessory": 5}]',
    "elements": '"blocks": [{"type": "context", "elements": 5}]',
}


@pytest.mark.parametrize("changed", TAMPERED.values(), ids=TAMPERED)
def test_a_line_that_was_tampered_with_breaks_no_page(tmp_path: Path, changed: str) -> None:
    with sandbox_of(tmp_path) as sandbox:
        client_of(sandbox).chat_postMessage(channel="#quant", text="ours")
    record = json.loads(log_of(tmp_path).read_text()) | {"ts": "1781647200.000009"}
    with log_of(tmp_path).open("a") as log:
        log.write(f"{json.dumps(record)[:-1]}, {changed}}}\n")
    assert publish(tmp_path) == tmp_path / PAGE_NAME
    assert "ours" in (tmp_path / PAGE_NAME).read_text()
    with sandbox_of(tmp_path) as sandbox:
        page = requests.get(f"{sandbox.url}/slack?channel=quant", timeout=5)
        assert page.status_code == 200
        assert "ours" in page.text
        client_of(sandbox).chat_postMessage(channel="#quant", text="after")
    assert texts(tmp_path)[-1] == "after"


def test_a_line_that_is_nested_too_deeply_is_ignored(tmp_path: Path) -> None:
    with sandbox_of(tmp_path) as sandbox:
        client_of(sandbox).chat_postMessage(channel="#quant", text="ours")
    record = json.loads(log_of(tmp_path).read_text()) | {"ts": "1781647200.000009"}
    with log_of(tmp_path).open("a") as log:
        log.write(f"{json.dumps(record)[:-1]}, {TAMPERED['rather deep']}}}\n")
    assert texts(tmp_path) == ["ours"]


def test_half_a_surrogate_pair_is_shown_as_a_question_mark(tmp_path: Path) -> None:
    with sandbox_of(tmp_path) as sandbox:
        client_of(sandbox).chat_postMessage(channel="#quant", text="half \ud800 pair")
        page = requests.get(f"{sandbox.url}/slack?channel=quant", timeout=5)
        assert page.status_code == 200
        assert "half ? pair" in page.text
    assert publish(tmp_path) == tmp_path / PAGE_NAME
    assert "half ? pair" in (tmp_path / PAGE_NAME).read_text()


def test_a_page_that_cannot_be_made_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise ValueError("not to be written")

    with sandbox_of(tmp_path) as sandbox:
        client_of(sandbox).chat_postMessage(channel="#quant", text="ours")
    monkeypatch.setattr(slack_export, "export_page", fails)
    assert publish(tmp_path) is None


def test_two_sandboxes_do_not_mix(tmp_path: Path) -> None:
    with sandbox_of(tmp_path) as first, sandbox_of(tmp_path) as second:
        client_of(first).chat_postMessage(channel="#quant", text="kept")
        client_of(second).chat_postMessage(channel="#quant", text="in memory only")
        assert len(second.slack) == 1
    assert texts(tmp_path) == ["kept"]
    with sandbox_of(tmp_path) as next_one:
        assert [message.text for message in next_one.slack] == ["kept"]


def test_edits_do_not_fill_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slack_archive, "REWRITE_LINES", 50)
    with sandbox_of(tmp_path) as sandbox:
        client = client_of(sandbox)
        posted = client.chat_postMessage(channel="#quant", text="line")
        for number in range(120):
            client.chat_update(channel=posted["channel"], ts=posted["ts"], text=str(number))
        assert len(log_of(tmp_path).read_text().splitlines()) < 50
    assert texts(tmp_path) == ["119"]


def test_an_unwritable_home_leaves_slack_in_memory(tmp_path: Path) -> None:
    (tmp_path / FOLDER_NAME).write_text("a file in the way")
    with sandbox_of(tmp_path) as sandbox:
        assert client_of(sandbox).chat_postMessage(channel="#quant", text="told")["ok"]
    assert publish(tmp_path) is None


def message(number: int, minutes: float) -> Message:
    posted = NOW - timedelta(minutes=minutes)
    return Message("C1", f"{posted.timestamp():.0f}.{number:06d}", str(number))


def test_old_threads_are_dropped_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    month = 30 * 24 * 60
    old, lasting = message(1, month + 10), message(2, month + 5)
    reply = Message("C1", message(3, month - 5).ts, "reply", thread_ts=lasting.ts)
    new = message(4, 1)
    assert retained([new, reply, old, lasting], NOW) == [lasting, reply, new]
    monkeypatch.setattr(slack_archive, "MAX_MESSAGES", 2)
    assert retained([new, reply, old, lasting], NOW) == [new]
    replies = [Message("C1", message(n, 0).ts, "", thread_ts=new.ts) for n in range(5, 9)]
    assert retained([new, *replies], NOW) == [new, replies[-1]]


def test_the_first_sandbox_to_come_drops_what_is_too_old(tmp_path: Path) -> None:
    with sandbox_of(tmp_path) as sandbox:
        posted = client_of(sandbox).chat_postMessage(channel="#quant", text="root")
        client_of(sandbox).files_upload_v2(
            channel=posted["channel"], thread_ts=posted["ts"], filename="a.png", content=PICTURE
        )
    files = tmp_path / FOLDER_NAME / "files"
    assert len(list(files.iterdir())) == 1
    with sandbox_of(tmp_path, NOW + timedelta(days=31)) as sandbox:
        assert len(sandbox.slack) == 0
    assert log_of(tmp_path).read_text() == ""
    assert list(files.iterdir()) == []


def test_the_page_as_one_file(tmp_path: Path) -> None:
    with sandbox_of(tmp_path) as sandbox:
        client = client_of(sandbox)
        root = client.chat_postMessage(channel="#quant", text="the <script>root</script>")
        client.files_upload_v2(
            channel=root["channel"], thread_ts=root["ts"], filename="a.png", content=PICTURE
        )
        client.chat_postMessage(channel="#general", text="hello")
        assert publish(tmp_path) == tmp_path / PAGE_NAME
    page = (tmp_path / PAGE_NAME).read_text()
    assert page.index("hello") < page.index("the &lt;script&gt;root")
    assert "data:image/png;base64,iVBORw0KGgo" in page
    assert "<script" not in page
    for outside in ("http://", "https://", "/slack"):
        assert outside not in page
    assert f'href="#{root["ts"]}"' in page
    assert f'id="{root["ts"]}"' in page


def test_the_foreground_sandbox_keeps_its_slack(tmp_path: Path) -> None:
    script = (
        "from pathlib import Path; from quant_assets.sandbox.server import serve; "
        f"serve(home=Path({str(tmp_path)!r}), seed=11, data_dir=None, port=0)"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    try:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while (address := locate.find(tmp_path, seed=11, data_dir=None)) is None:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        client = WebClient(token="xoxb-test", base_url=f"{address}/api/", retry_handlers=[])
        client.chat_postMessage(channel="#quant", text="told")
        assert texts(tmp_path) == ["told"]
    finally:
        process.kill()
        process.wait(DEADLINE_SECONDS)
    with sandbox_of(tmp_path, datetime.now(UTC)) as sandbox:
        assert [message.text for message in sandbox.slack] == ["told"]


def places(home: Path) -> str:
    """What ``quant run`` says at its end."""
    printed = StringIO()
    _print_places(Console(file=printed, width=60), read_settings(QUANT_HOME=str(home)), [])
    return printed.getvalue()


def test_a_run_says_where_its_slack_is_to_be_seen(tmp_path: Path) -> None:
    assert "Slack:" not in places(tmp_path)
    with Sandbox(home=tmp_path) as sandbox:
        locate.record(tmp_path, sandbox)
        client_of(sandbox).chat_postMessage(channel="#quant", text="told")
        assert f"Slack:    {sandbox.url}/slack\n" in places(tmp_path)
    assert f"Slack:    {(tmp_path / PAGE_NAME).as_uri()}\n" in places(tmp_path)
