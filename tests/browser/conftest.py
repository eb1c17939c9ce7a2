"""A real Chromium over file://, with the network blocked and every attempt to reach it written down."""

import os
from pathlib import Path

import pytest
from find_chromium import FLAGS, HOW_TO_GET, find_chromium
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[2]
SCREENSHOTS = ROOT / "_build" / "screenshots"
# The theme declares one constant twice on every page; harmless, and the only message allowed.
THEME_MESSAGES = {"Identifier 'THEBE_JS_URL' has already been declared"}
LOCAL = ("file:", "data:", "blob:", "about:")


@pytest.fixture(scope="session")
def chromium():
    if (path := find_chromium()) is None:
        (pytest.fail if os.environ.get("LTT_REQUIRE_BROWSER") else pytest.skip)(HOW_TO_GET)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def watched(chromium, request):
    """An empty page; its .complaints gathers errors and requests that leave the machine."""
    context = chromium.new_context(color_scheme="light", reduced_motion="reduce")
    context.route(lambda address: not address.startswith(LOCAL), lambda route: route.abort())
    page = context.new_page()
    page.complaints = []
    page.on("console", lambda message: message.type == "error" and page.complaints.append(message.text))
    page.on("pageerror", lambda error: error.message in THEME_MESSAGES or page.complaints.append(error.message))
    page.on("request", lambda asked: asked.url.startswith(LOCAL) or page.complaints.append(f"asked for {asked.url}"))
    yield page
    if request.node.stash.get(FAILED, False):
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        name = "".join(letter if letter.isalnum() else "-" for letter in request.node.name)
        page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)
    context.close()


@pytest.fixture
def visit(watched, book):
    """visit("book/index") opens a page of the built book in the watched page."""

    def open_page(name: str, width: int = 1200):
        watched.set_viewport_size({"width": width, "height": 900})
        watched.goto((book / f"{name}.html").as_uri())
        watched.evaluate("window.MathJax?.startup?.promise?.then(() => 'drawn')")
        return watched

    return open_page


FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    item.stash[FAILED] = item.stash.get(FAILED, False) or (report.when == "call" and report.failed)
    return report
