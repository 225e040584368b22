"""The page of the simulated Slack in a browser: it renews itself and runs no foreign script."""

import shutil
import time
from collections.abc import Callable, Iterator

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By

from quant_assets.sandbox.server import Sandbox
from quant_assets_tests.integration.test_sandbox_slack_page import NOW, Writer

pytestmark = pytest.mark.browser
DEADLINE_SECONDS = 600.0


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(now=lambda: NOW) as running:
        yield running


@pytest.fixture
def browser() -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for option in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1000,700"):
        options.add_argument(option)
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    driver = webdriver.Chrome(options=options, service=service)
    try:
        yield driver
    finally:
        driver.quit()


def poll(what: str, is_so: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def top_of(browser: webdriver.Chrome, ts: str) -> float:
    script = "return document.getElementById(arguments[0]).getBoundingClientRect().top"
    return float(browser.execute_script(script, ts))


def test_new_threads_appear_and_the_reader_stays_where_he_is(
    sandbox: Sandbox, browser: webdriver.Chrome
) -> None:
    post = Writer(sandbox.slack)
    roots = [post(f"thread {number}\n" + "line\n" * 12) for number in range(12)]
    read = roots[4]
    post("a reply", roots[4])
    browser.get(f"{sandbox.url}/slack")
    browser.execute_script("document.getElementById(arguments[0]).scrollIntoView()", read.ts)
    browser.execute_script("scrollBy(0, -90)")
    fold = f"replies-{read.ts}"
    browser.execute_script("document.getElementById(arguments[0]).open = true", fold)
    before = top_of(browser, read.ts)
    browser.execute_script("window.stayed = true")
    new = post("a new thread\n" + "line\n" * 20)
    poll("the new thread appears", lambda: browser.find_elements(By.ID, new.ts))
    assert abs(top_of(browser, read.ts) - before) < 3
    assert browser.execute_script("return document.getElementById(arguments[0]).open", fold)
    assert browser.execute_script("return window.stayed")
    assert "13 threads" in browser.find_element(By.TAG_NAME, "main").text


def test_a_page_of_hostile_texts_runs_nothing(sandbox: Sandbox, browser: webdriver.Chrome) -> None:
    post = Writer(sandbox.slack)
    root = post("<script>window.hit=1</script>")
    for text in (
        "<img src=x onerror=window.hit=1>",
        '<https://a.example/" onmouseover="window.hit=1|x>',
        "https://x/<https://y onclick=window.hit=1 |z>",
        "`<svg onload=window.hit=1>` ```<script>window.hit=1</script>```",
    ):
        post(text, root)
    browser.get(f"{sandbox.url}/slack")
    poll("the page is there", lambda: browser.find_elements(By.CLASS_NAME, "reply"))
    for link in browser.find_elements(By.CSS_SELECTOR, "main .text a"):
        names = browser.execute_script("return arguments[0].getAttributeNames()", link)
        assert sorted(names) == ["href", "rel", "target"]
    assert browser.execute_script("return window.hit") is None
    assert browser.find_elements(By.CSS_SELECTOR, "main script, main img, main svg") == []


def test_the_page_says_that_the_sandbox_has_stopped(
    sandbox: Sandbox, browser: webdriver.Chrome
) -> None:
    Writer(sandbox.slack)("the last message")
    browser.get(f"{sandbox.url}/slack")
    sandbox.stop()
    poll("the notice appears", lambda: browser.find_element(By.ID, "gone").is_displayed())
    assert "the last message" in browser.find_element(By.TAG_NAME, "main").text
