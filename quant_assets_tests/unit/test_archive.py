"""The raw archive attacked: secrets, damage, pruning, a full disk, replay in a vendor's place."""

import gzip
import json
import logging
import os
import random
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from quant_assets.errors import BadConfigurationError
from quant_assets.resources import Fetch
from quant_assets.vendors.archive import (
    UNKEPT_STATUSES,
    Answer,
    NotKeptError,
    RawArchive,
    Scope,
    UnreadableArchiveError,
    request_key,
)
from quant_assets.vendors.http import build_session
from quant_assets_tests.unit.full_disk import refuse_writing
from quant_assets_tests.unit.scripted_server import Reply, ScriptedServer

ASSET = "us/prices"
NOW = datetime(2026, 3, 20, 3, 30, tzinfo=UTC)
FIRST, LAST = "2026-03-17", "2026-03-18"
SCOPE = Scope(FIRST, LAST, NOW)
SECRET = 'p/a s+s"w&<ö%d'
KEY = "0123456789abcdef0123456789abcdef"
LOG = logging.getLogger("test")


@pytest.fixture
def archive(tmp_path: Path) -> RawArchive:
    return RawArchive(tmp_path / "raw", [SECRET, KEY])


def keep(archive: RawArchive, *bodies: bytes, scope: Scope = SCOPE, asset: str = ASSET) -> Path:
    """Record a fetch with these bodies, one a request; its manifest."""
    recording = archive.record(scope)
    for number, body in enumerate(bodies):
        recording.note(f"/{number}", Answer(200, {}, body))
    path = recording.save(asset)
    assert path is not None
    return path


def blobs(archive: RawArchive) -> list[Path]:
    return sorted((archive.root / "blobs").glob("*/*.gz"))


def aged(path: Path, days: float) -> Path:
    """A kept file as if it had been written so many days ago."""
    when = datetime.now(UTC) - timedelta(days=days)
    os.utime(path, (when.timestamp(), when.timestamp()))
    if path.suffix == ".json":
        name = "__".join([*path.stem.split("__")[:2], f"{when:%Y%m%dT%H%M%S%fZ}"])
        return path.rename(path.with_name(f"{name}.json"))
    return path


def days_ago(days: float) -> datetime:
    return datetime.now(UTC) - timedelta(days=days)


def everything(root: Path) -> bytes:
    """Every kept byte, file names and unpacked bodies included."""
    parts = []
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        content = path.read_bytes()
        parts += [str(path).encode(), gzip.decompress(content) if path.suffix == ".gz" else content]
    return b"\n".join(parts)


@pytest.mark.parametrize(
    ("url", "params", "key"),
    [
        ("https://a.b/query?function=X&apikey=K1", None, "//a.b/query?function=X"),
        ("https://a.b/q?API_KEY=K1&b=2&a=1", {"token": "K1"}, "//a.b/q?a=1&b=2&token=badb7283"),
        (
            "https://a.b/q?crumb=K1&access_token=K1",
            {"crumb": "K1"},
            "//a.b/q?access_token=badb7283",
        ),
        ("http://127.0.0.1:41234/rss/x.xml", None, "/rss/x.xml"),
        ("http://localhost:1/x?a=", {"b": 3}, "/x?a=&b=3"),
        ("http://[::1]:9999/x", None, "/x"),
        ("https://user:K1@feeds.example/rss", None, "//feeds.example/rss"),
        ("https://feeds.example:8443", None, "//feeds.example:8443/"),
        ("https://feeds.example:443/rss#part", None, "//feeds.example/rss"),
    ],
)
def test_a_request_is_named_without_secret_and_loopback_port(
    url: str, params: dict[str, object] | None, key: str
) -> None:
    assert request_key(url, params) == key


def test_no_form_of_a_secret_is_kept(archive: RawArchive) -> None:
    forms = {
        SECRET,
        quote(SECRET, safe=""),
        quote(SECRET, safe="").lower(),
        quote_plus(SECRET),
        json.dumps(SECRET)[1:-1],
        json.dumps(SECRET)[1:-1].replace("/", "\\/"),
        json.dumps(SECRET, ensure_ascii=False)[1:-1],
        SECRET.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;"),
        KEY,
    }
    recording = archive.record(SCOPE)
    for number, form in enumerate(sorted(forms)):
        headers = {"ETag": f'"{form}"'}
        body = f"before {form} after".encode()
        recording.note(f"/path/{form}?n={number}", Answer(200, headers, body))
    path = recording.save(ASSET)
    assert path is not None
    kept = everything(archive.root)
    for form in forms:
        assert form.encode() not in kept, form
    assert kept.count(b"before ") == 1
    assert b"before [redacted] after" in kept
    assert len(json.loads(path.read_text())["entries"]) == len(forms)


@pytest.mark.parametrize("secret", ["a", "now", "sha256", "entries", '"', "0", "{"])
def test_a_short_secret_does_not_break_the_archive(tmp_path: Path, secret: str) -> None:
    archive = RawArchive(tmp_path, [secret])
    keep(archive, b"x", b"y")
    replay = archive.replay(ASSET, FIRST, LAST)
    assert replay.scope == SCOPE
    assert [replay.find(f"/{n}").body for n in range(2)] == [b"x", b"y"]


def test_a_request_with_a_secret_in_its_path_is_found_again(archive: RawArchive) -> None:
    recording = archive.record(SCOPE)
    recording.note(f"//host/{KEY}/feed", Answer(200, {}, b"body"))
    recording.save(ASSET)
    replay = archive.replay(ASSET, FIRST, LAST)
    assert replay.find(f"//host/{KEY}/feed").body == b"body"
    with pytest.raises(NotKeptError) as raised:
        replay.find(f"//host/{KEY}/other")
    assert KEY not in str(raised.value)


def test_equal_answers_are_one_file_and_the_last_of_a_request_counts(archive: RawArchive) -> None:
    recording = archive.record(SCOPE)
    for body in (b"old", b"same", b"new"):
        recording.note("/a", Answer(200, {}, body))
    recording.note("/b", Answer(200, {}, b"same"))
    for status in UNKEPT_STATUSES:
        recording.note("/a", Answer(status, {}, b"a failure"))
    recording.note("/gone", Answer(404, {}, b"none"))
    recording.save(ASSET)
    replay = archive.replay(ASSET, FIRST, LAST)
    assert replay.find("/a").body == b"new"
    assert replay.find("/b").body == b"same"
    assert (replay.find("/gone").status, replay.find("/gone").body) == (404, b"none")
    assert len(blobs(archive)) == 4
    before = [path.read_bytes() for path in blobs(archive)]
    keep(archive, b"new", b"same")
    assert [path.read_bytes() for path in blobs(archive)] == before


def test_a_session_records_and_replays_on_another_port(archive: RawArchive) -> None:
    script = [Reply(b'{"n": 1}', headers={"Content-Type": "application/json", "X-Other": "no"})]
    recording = archive.record(SCOPE)
    settings = {"retries": 0, "backoff_seconds": 0.0, "timeout_seconds": 5.0, "user_agent": "t"}
    with ScriptedServer(script) as server:
        session = build_session(**settings, tape=recording)
        session.get(f"{server.url}/x", params={"a": "1", "apikey": KEY})
    path = recording.save(ASSET)
    assert path is not None
    assert "X-Other" not in path.read_text()
    replay = archive.replay(ASSET, FIRST, LAST)
    again = build_session(**settings, tape=replay)
    answer = again.get("http://127.0.0.1:9/x", params={"apikey": "another", "a": "1"})
    assert answer.json() == {"n": 1}
    assert answer.headers["content-type"] == "application/json"
    with pytest.raises(NotKeptError, match=path.name):
        again.get("http://127.0.0.1:9/x", params={"a": "2"})


def test_the_newest_fetch_that_covers_a_range_answers(archive: RawArchive) -> None:
    for first, last, body in (
        ("2026-03-01", "2026-03-31", b"month"),
        ("2026-03-18", "2026-03-18", b"day"),
        ("2026-03-18", "2026-03-18", b"day again"),
    ):
        keep(archive, body, scope=Scope(first, last, NOW))
    assert archive.replay(ASSET, "2026-03-18", "2026-03-18").find("/0").body == b"day again"
    assert archive.replay(ASSET, "2026-03-17", "2026-03-18").find("/0").body == b"month"
    with pytest.raises(BadConfigurationError, match=r"no raw answers are kept.*asks the vendor"):
        archive.replay(ASSET, "2026-03-31", "2026-04-01")


@pytest.mark.parametrize(
    ("asset", "first", "last"),
    [
        ("us/prices", "2026-03-02", "2026-03-20"),
        ("news/articles", "2026-03-20-02", "2026-03-20-11"),
        ("news/articles", "2026-03-20-02", "2026-03-20-02"),
    ],
)
def test_manifest_names_sort_and_parse(
    archive: RawArchive, asset: str, first: str, last: str
) -> None:
    paths = [keep(archive, b"x", scope=Scope(first, last, NOW), asset=asset) for _ in range(3)]
    assert archive.assets() == [asset]
    found = archive.manifests(asset)
    assert [m.path for m in found] == paths == sorted(paths)
    assert {(m.first, m.last) for m in found} == {(first, last)}
    assert all(abs(m.saved_at - datetime.now(UTC)) < timedelta(minutes=5) for m in found)
    assert archive.replay(asset, first, last).manifest == found[-1]


def test_foreign_files_are_ignored(archive: RawArchive) -> None:
    path = keep(archive, b"x")
    for name in ("notes.json", "a__b__c.json", ".DS_Store", "x.txt"):
        path.with_name(name).write_text("{}")
    (path.parents[1] / "README").write_text("")
    assert archive.assets() == [ASSET]
    assert [m.path for m in archive.manifests(ASSET)] == [path]
    assert archive.prune(days_ago(30)) == (0, 0)


@pytest.mark.parametrize("damage", [b"", b"not gzip", gzip.compress(b"another", mtime=0), None])
def test_a_damaged_or_missing_body_is_named_and_healed_by_the_next_fetch(
    archive: RawArchive, damage: bytes | None
) -> None:
    keep(archive, b"the body")
    path = blobs(archive)[0]
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage)
    with pytest.raises(UnreadableArchiveError, match=f"{path}.*materialize the partitions again"):
        archive.replay(ASSET, FIRST, LAST).find("/0")
    keep(archive, b"the body")
    assert archive.replay(ASSET, FIRST, LAST).find("/0").body == b"the body"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff\xfe",
        b'{"now": "2026-03-20T03:30:00+00:00", "entries": []}',
        b'{"now": "never", "entries": [], "first": "a", "last": "b"}',
        b'{"now": "2026-03-20T03:30:00+00:00", "entries": [{"x": 1}], "first": "a", "last": "b"}',
        b'{"now": "2026-03-20T03:30:00+00:00", "entries": null, "first": "a", "last": "b"}',
    ],
)
def test_a_damaged_manifest_is_named_and_stops_only_itself(
    archive: RawArchive, content: bytes
) -> None:
    keep(archive, b"good", scope=Scope("2026-03-02", "2026-03-02", NOW))
    bad = keep(archive, b"bad")
    bad.write_bytes(content)
    with pytest.raises(UnreadableArchiveError, match=f"{bad} cannot be read.*remove it"):
        archive.replay(ASSET, FIRST, LAST)
    assert archive.replay(ASSET, "2026-03-02", "2026-03-02").find("/0").body == b"good"
    assert len(archive.manifests(ASSET)) == 2
    assert archive.prune(days_ago(30)) == (0, 0)


def test_prune_removes_old_fetches_and_what_only_they_name(archive: RawArchive) -> None:
    old = aged(keep(archive, b"old", b"shared"), 100)
    new = keep(archive, b"new", b"shared")
    for path in blobs(archive):
        aged(path, 100)
    expected = old.stat().st_size + len(gzip.compress(b"old", 6, mtime=0))
    assert archive.prune(days_ago(90), dry_run=True) == (2, expected)
    assert len(blobs(archive)) == 3
    assert archive.prune(days_ago(90)) == (2, expected)
    assert [m.path for m in archive.manifests(ASSET)] == [new]
    replay = archive.replay(ASSET, FIRST, LAST)
    assert [replay.find(f"/{n}").body for n in range(2)] == [b"new", b"shared"]
    assert archive.prune(days_ago(90)) == (0, 0)


def test_prune_keeps_the_bodies_of_a_damaged_manifest(archive: RawArchive) -> None:
    path = keep(archive, b"one", b"two")
    for blob in blobs(archive):
        aged(blob, 100)
    path.write_text(path.read_text()[:-3])
    assert archive.prune(days_ago(90)) == (0, 0)
    assert len(blobs(archive)) == 2


def test_prune_spares_what_a_fetch_in_progress_has_kept(archive: RawArchive) -> None:
    """Also with a retention of no days, and where the body was there long before the fetch."""
    keep(archive, b"old body")
    aged(blobs(archive)[0], 50)
    recording = archive.record(SCOPE)
    recording.note("/a", Answer(200, {}, b"old body"))
    recording.note("/b", Answer(200, {}, b"new body"))
    archive.prune(datetime.now(UTC))
    assert archive.manifests(ASSET) == []
    recording.save(ASSET)
    replay = archive.replay(ASSET, FIRST, LAST)
    assert [replay.find(name).body for name in ("/a", "/b")] == [b"old body", b"new body"]


def test_fetches_and_prunes_at_once_leave_every_manifest_whole(archive: RawArchive) -> None:
    """Old bodies are removed while other fetches name them again."""
    bodies = [f"body {n}".encode() for n in range(40)]
    for body in bodies:
        archive.put(body)
    stop = threading.Event()
    failures: list[BaseException] = []

    def prune() -> None:
        while not stop.is_set():
            try:
                archive.prune(days_ago(10))
            except BaseException as error:  # noqa: BLE001  told to the test
                failures.append(error)

    workers = [threading.Thread(target=prune) for _ in range(2)]
    for worker in workers:
        worker.start()
    chance = random.Random(3)
    removed = 0
    try:
        for _ in range(30):
            for path in blobs(archive):
                try:
                    aged(path, 50)
                except FileNotFoundError:
                    removed += 1
            chosen = chance.sample(bodies, 10)
            manifest = keep(archive, *chosen)
            replay = archive.replay(ASSET, FIRST, LAST)
            assert [replay.find(f"/{n}").body for n in range(10)] == chosen
            manifest.unlink()
    finally:
        stop.set()
        for worker in workers:
            worker.join(60)
    assert failures == []
    assert removed + len(bodies) > len(blobs(archive)), "nothing was removed meanwhile"


def test_prune_removes_what_killed_writers_left(archive: RawArchive) -> None:
    keep(archive, b"x")
    folder = blobs(archive)[0].parent
    old, young = folder / ".a.gz.1.2.tmp", folder / ".b.gz.1.2.tmp"
    for path in (old, young):
        path.write_bytes(b"half")
    aged(old, 100)
    assert archive.prune(days_ago(90)) == (1, 4)
    assert young.exists()


def test_prune_daily_prunes_once_a_day_whatever_its_marker_holds(archive: RawArchive) -> None:
    aged(keep(archive, b"x"), 100)
    archive.root.joinpath(".pruned").write_bytes(b"\xff\x00")
    now = datetime.now(UTC)
    archive.prune_daily(now, 90)
    assert archive.manifests(ASSET) == []
    aged(keep(archive, b"x"), 100)
    archive.prune_daily(now, 90)
    assert len(archive.manifests(ASSET)) == 1
    archive.prune_daily(now + timedelta(days=1), 90)
    assert archive.manifests(ASSET) == []


@pytest.mark.parametrize("part", ["blobs", "manifests", ".pruned"])
def test_a_full_disk_ends_the_recording_and_not_the_fetch(
    archive: RawArchive,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    part: str,
) -> None:
    refuse_writing(monkeypatch, [part])
    recording = archive.record(SCOPE)
    recording.note("/a", Answer(200, {}, b"one"))
    recording.note("/b", Answer(200, {}, b"two"))
    facts = Fetch(ASSET, recording, 90, LOG).keep()
    is_kept = part == ".pruned"
    assert bool(archive.manifests(ASSET)) == is_kept
    assert list(archive.root.rglob("*.tmp")) == []
    told = "could not be removed" if is_kept else "are not kept"
    assert told in caplog.text
    assert "No space left on device" in caplog.text
    if not is_kept:
        assert "the raw answers of this fetch are not kept" in facts["raw_answers"]
        assert "QUANT_RAW_RETENTION_DAYS=0" in facts["raw_answers"]
