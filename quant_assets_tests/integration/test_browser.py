"""The UI of ``quant dev`` in a real browser: what a user of the platform sees and clicks.

One small instance with three symbols for the module: ``quant run`` fills it, ``quant dev`` serves
it, Chromium (Debian's ``chromium`` and ``chromium-driver``) looks at it.
"""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
import requests
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException, WebDriverException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from quant_assets.io_managers.parquet_store import ParquetStore
from quant_assets.markets import US
from quant_assets.schemas import dataset_of
from quant_assets_tests.integration.test_commands import BIN, US_LAST, Commands

pytestmark = pytest.mark.browser

T = TypeVar("T")
ASSET = "us/recommendations"
LAUNCHED = "us/technical_indicators"
SESSIONS = [US.offset_session(US_LAST, -count).isoformat() for count in (2, 1, 0)]
NEVER_RUN = US.offset_session(US_LAST, -5).isoformat()
PAGE_SECONDS = 300.0
START_SECONDS = 300.0
RUN_SECONDS = 300.0
CHROMIUM_OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--window-size=1600,1300",
)


def poll(what: str, seconds: float, found: Callable[[], T | None]) -> T:
    """First true value of ``found``; fails with ``what`` when the time is over."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(StaleElementReferenceException, requests.RequestException):
            if value := found():
                return value
        time.sleep(0.1)
    raise AssertionError(f"not seen within {seconds:.0f} s: {what}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End the process and all that it started: politely, then for good."""
    for number, seconds in ((signal.SIGTERM, 60.0), (signal.SIGKILL, 15.0)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            process.poll()
            if not _group_lives(process.pid):
                return
            time.sleep(0.1)
    raise AssertionError(f"processes of the group {process.pid} survive SIGKILL")


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Commands:
    """An instance with three sessions of three symbols."""
    commands = Commands(tmp_path_factory.mktemp("checkout"))
    commands("quant", "setup")
    commands("quant", "run", "--market", "us", "--from", SESSIONS[0])
    return commands


@pytest.fixture(scope="module")
def ui(checkout: Commands) -> Iterator[str]:
    """Address of a running ``quant dev``."""
    port = free_port()
    log = checkout.folder / "dev.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(BIN / "quant"), "dev", "--port", str(port)],
            cwd=checkout.folder,
            env=checkout.environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    address = f"http://127.0.0.1:{port}"

    def loaded() -> bool:
        assert process.poll() is None, log.read_text(errors="replace")[-3000:]
        return bool(graphql(address, REPOSITORIES)["repositoriesOrError"].get("nodes"))

    try:
        poll(f"the code location of {address}", START_SECONDS, loaded)
        yield address
    finally:
        end_group(process)


REPOSITORIES = (
    "{repositoriesOrError {... on RepositoryConnection {nodes {name location {name}}}"
    " ... on PythonError {message}}}"
)
NEWEST_RUN = "{runsOrError(limit: 1) {... on Runs {results {runId}}}}"


def graphql(address: str, query: str, **variables: Any) -> dict[str, Any]:
    """Answer of the endpoint that the pages use."""
    answer = requests.post(
        f"{address}/graphql", json={"query": query, "variables": variables}, timeout=30
    ).json()
    assert "errors" not in answer, answer["errors"]
    data: dict[str, Any] = answer["data"]
    return data


class Browser:
    """A page and what a user does with it."""

    def __init__(self, driver: webdriver.Chrome, address: str) -> None:
        self.driver = driver
        self.address = address

    def open(self, path: str) -> None:
        self.driver.get(f"{self.address}{path}")

    def text(self) -> str:
        return self.driver.find_element(By.TAG_NAME, "body").text

    def see(self, *words: str, seconds: float = PAGE_SECONDS) -> str:
        """Wait until the page shows all ``words``; its text."""
        try:
            return poll("", seconds, lambda: self._text_with(words))
        except AssertionError:
            shown = self.text()
            missing = [word for word in words if word not in shown]
            raise AssertionError(
                f"{self.driver.current_url} does not show {missing} within {seconds:.0f} s:\n"
                f"{shown[:4000]}"
            ) from None

    def _text_with(self, words: tuple[str, ...]) -> str | None:
        shown = self.text()
        return shown if all(word in shown for word in words) else None

    def find(self, xpath: str, seconds: float = PAGE_SECONDS) -> WebElement:
        """First displayed element."""
        return poll(
            f"{xpath} on {self.driver.current_url}",
            seconds,
            lambda: next(
                (e for e in self.driver.find_elements(By.XPATH, xpath) if e.is_displayed()), None
            ),
        )

    def click(self, xpath: str) -> None:
        """Click as soon as nothing covers the element."""

        def clicked() -> bool:
            try:
                self.find(xpath).click()
            except WebDriverException:
                return False
            return True

        poll(f"a click on {xpath}", PAGE_SECONDS, clicked)


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    programs = [shutil.which("chromium"), shutil.which("chromedriver")]
    if None in programs:
        pytest.fail("Chromium is missing: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = str(programs[0])
    for option in CHROMIUM_OPTIONS:
        options.add_argument(option)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('chromium')}")
    service = webdriver.ChromeService(executable_path=str(programs[1]))
    started = webdriver.Chrome(options=options, service=service)
    started.set_page_load_timeout(PAGE_SECONDS)
    yield started
    started.quit()


@pytest.fixture
def browser(
    ui: str, driver: webdriver.Chrome, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Browser]:
    """The browser on the UI; a picture of the last page stays in ``tmp_path`` if the test fails."""
    failed_before = request.session.testsfailed
    yield Browser(driver, ui)
    if request.session.testsfailed > failed_before:
        driver.save_screenshot(str(tmp_path / "page.png"))


def test_the_lineage_shows_the_groups(browser: Browser) -> None:
    browser.open("/asset-groups")
    groups = ("analysis", "events", "macro", "news", "prices", "research", "trading")
    shown = browser.see(*(f"\n{group}\n" for group in groups))
    # Each stands in the list and in the graph.
    assert all(shown.split("\n").count(group) == 2 for group in groups)


def test_the_asset_page_tells_what_the_asset_is(browser: Browser) -> None:
    browser.open(f"/assets/{ASSET}?view=overview")
    shown = browser.see(
        "Recommendation for each symbol: 70 % technical and 30 % news sentiment.",
        "Group\nanalysis\n",
        "Owners\nquant-platform\n",
        "Kinds\nParquet\nPython\n",
        "us / technical_score",
    )
    columns = [column.name for column in dataset_of(ASSET).columns]
    assert [line for line in shown.splitlines() if line in columns][: len(columns)] == columns
    assert "Weighted sum, rounded to 6 decimals; null without technical. [-1..1]" in shown


def test_the_latest_event_shows_metadata_and_a_picture(browser: Browser) -> None:
    browser.open(f"/assets/{ASSET}?view=events")
    shown = browser.see(f"Partition {SESSIONS[-1]} materialized in run", "[Show Markdown]")
    assert "profile\nsandbox\n" in shown
    labels = re.search(r"\nlabels\n(.+)\n", shown)
    assert labels is not None
    assert sum(int(count) for count in re.findall(r"(\d) [A-Z_]+", labels[1])) == 3
    assert re.search(r"\n(AAPL|MSFT|JPM) (STRONG_)?(BUY|SELL|HOLD) ", shown)
    browser.click("//*[text()='[Show Markdown]']")
    image = browser.find("//img[starts-with(@src, 'data:image/png;base64,')]")
    poll(
        "a loaded picture wider than 200 pixels",
        PAGE_SECONDS,
        lambda: int(str(image.get_property("naturalWidth"))) > 200,
    )


def test_the_partitions_tab_marks_the_materialized_sessions(browser: Browser) -> None:
    browser.open(f"/assets/{ASSET}?view=partitions")
    browser.see("Materialized (3)", "Failed (0)")
    for session in SESSIONS:
        browser.open(f"/assets/{ASSET}?view=partitions&partition={session}")
        shown = browser.see(f"\n{session}\nMaterialized\n", "dagster/partition_row_count\n3\n")
        assert "us_combined_analysis" in shown
    browser.open(f"/assets/{ASSET}?view=partitions&partition={NEVER_RUN}")
    browser.see(f"\n{NEVER_RUN}\nLatest materialization\nNone", "No metadata entries")


def test_a_partition_materialized_in_the_ui(browser: Browser, checkout: Commands) -> None:
    """The launch dialog on a session whose prices are there; its run page ends in Success."""
    store = ParquetStore(checkout.folder / ".quant" / "sandbox" / "data", "sandbox")
    assert store.missing(LAUNCHED, [NEVER_RUN]) == [NEVER_RUN]
    browser.open(f"/assets/{LAUNCHED}?view=partitions")
    browser.see("Materialized (3)")
    browser.click("//button[starts-with(normalize-space(.), 'Materialize')]")
    browser.see("Launch runs to materialize")
    field = browser.find("//*[@role='dialog']//input[@placeholder]")
    field.send_keys(Keys.CONTROL, "a")
    field.send_keys(NEVER_RUN, Keys.ENTER)
    browser.click("//*[@role='dialog']//button[normalize-space(.)='Launch 1 run']")
    started = re.search(r"Launched run (\w{8})", browser.see("Launched run "))
    assert started is not None
    (newest,) = graphql(browser.address, NEWEST_RUN)["runsOrError"]["results"]
    assert newest["runId"].startswith(started[1])
    browser.open(f"/runs/{newest['runId']}")
    browser.see("Success", NEVER_RUN, seconds=RUN_SECONDS)
    browser.open(f"/assets/{LAUNCHED}?view=partitions&partition={NEVER_RUN}")
    browser.see("Materialized (4)", f"\n{NEVER_RUN}\nMaterialized\n")
    frame = store.read(dataset_of(LAUNCHED), LAUNCHED, [NEVER_RUN])
    assert set(frame["symbol"]) == {"AAPL", "MSFT", "JPM"}
