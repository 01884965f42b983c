"""The site of the documents as a reader has it: every page in a browser, as narrow as a phone's."""

from __future__ import annotations

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urldefrag

import pytest

from tests.support import browser, website
from tests.support.blocks import every_block

pytestmark = [pytest.mark.e2e, browser.needed, website.needed]

PHONE = 390
LOOK = """() => {
    const scrolls = (element) => {
        for (let at = element; at !== document.body; at = at.parentElement)
            if (["auto", "scroll"].includes(getComputedStyle(at).overflowX)) return true;
        return false;
    };
    const beyond = (element) => element.getBoundingClientRect().right > document.documentElement.clientWidth + 1;
    return {
        links: [...document.querySelectorAll("a[href]")].map((link) => link.href),
        anchors: [...document.querySelectorAll("[id]")].map((element) => element.id),
        over: document.documentElement.scrollWidth - document.documentElement.clientWidth,
        cut: [...document.querySelectorAll("article :not(pre *)")]
            .filter((element) => beyond(element) && !scrolls(element))
            .map((element) => element.outerHTML.slice(0, 200)),
    };
}"""
"""What links lead to and from, and what is wider than the window and cannot be moved."""


class Handler(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


class Server(ThreadingHTTPServer):
    def handle_error(self, *args):
        """The browser leaves a page before everything is loaded."""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    return website.built(tmp_path_factory.mktemp("docs"))


@pytest.fixture(scope="module")
def address(site):
    server = Server(("127.0.0.1", 0), partial(Handler, directory=site))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


def is_left(request):
    """Whether a request was broken off because the next page was opened."""
    return request.failure == "net::ERR_ABORTED"


def leads_somewhere(link, seen):
    url, fragment = urldefrag(link)
    return not fragment or unquote(fragment) in seen[url]["anchors"]


def complaints(page):
    """A list to which the browser adds what it has to say of any page."""
    said = []
    page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("requestfailed", lambda request: is_left(request) or said.append(f"{request.url}: {request.failure}"))
    page.on("response", lambda response: response.ok or said.append(f"{response.url}: {response.status}"))
    return said


def test_every_page_can_be_reached_and_no_link_is_dead(site, address):
    """From the first page on; a page that no link leads to is none."""
    seen, waiting = {}, [f"{address}index.html"]
    with browser.new_page(width=PHONE, height=800) as page:
        said = complaints(page)
        # The search has a test of its own; here it would be loaded with each page.
        page.route("**/workers/**", lambda route: route.fulfill(content_type="text/javascript", body=""))
        while waiting:
            url = waiting.pop()
            page.goto(url)
            seen[url] = page.evaluate(LOOK)
            there = {urldefrag(link).url for link in seen[url]["links"] if link.startswith(address)}
            waiting += sorted(link for link in there if link.endswith(".html") and link not in {*seen, *waiting})
    assert said == []
    pages = {path.relative_to(site).as_posix() for path in site.rglob("*.html")} - {"404.html"}
    assert {url.removeprefix(address) for url in seen} == pages
    wide = {url: found["cut"] for url, found in seen.items() if found["over"] > 0 or found["cut"]}
    assert wide == {}
    links = {(url, link) for url, found in seen.items() for link in found["links"] if link.startswith(address)}
    dead = [(url, link) for url, link in links if not leads_somewhere(link, seen)]
    assert dead == []


def test_the_search_finds_what_becomes_of_a_training_that_is_killed(address):
    with browser.new_page(width=1280, height=900) as page:
        said = complaints(page)
        page.goto(f"{address}index.html")
        page.get_by_role("button", name="Search").click()
        page.get_by_role("combobox", name="Search").fill("killed")
        found = page.get_by_role("option").filter(has_text="killed")
        found.first.click()
        browser.expect(page.locator("article")).to_contain_text("killed")
    assert said == []


def test_a_command_is_copied_without_its_prompt(address):
    with browser.new_page(width=1280, height=900) as page:
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        page.goto(f"{address}index.html")
        page.get_by_title("Copy to clipboard").first.click()
        browser.expect(page.get_by_role("status")).to_contain_text("Copied")
        copied = page.evaluate("navigator.clipboard.readText()")
    shown = next(block for block in every_block() if block.document == "README.md" and block.language == "console")
    assert copied.strip() == shown.commands.strip()
