"""The site of the documents as a reader has it: every page in a browser, as narrow as a phone's."""

from __future__ import annotations

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urldefrag

import pytest

from tests.support import browser, website

pytestmark = [pytest.mark.e2e, browser.needed, website.needed]

PHONE = 390
LOOK = """() => {
    const scrolls = (element) => {
        for (let at = element; at !== document.body; at = at.parentElement)
            if (["auto", "scroll"].includes(getComputedStyle(at).overflowX)) return true;
        return false;
    };
    const beyond = (element) => element.getBoundingClientRect().right > innerWidth + 1;
    return {
        links: [...document.querySelectorAll("a[href]")].map((link) => link.href),
        anchors: [...document.querySelectorAll("[id]")].map((element) => element.id),
        width: document.documentElement.scrollWidth,
        cut: [...document.querySelectorAll("article :not(pre *)")]
            .filter((element) => beyond(element) && !scrolls(element))
            .map((element) => element.outerHTML.slice(0, 200)),
    };
}"""
"""What links lead to and from, and what is wider than the window and cannot be moved."""


class Handler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    return website.built(tmp_path_factory.mktemp("docs"))


@pytest.fixture(scope="module")
def address(site):
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=site))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


def complaints(page):
    """A list to which the browser adds what it has to say of any page."""
    said = []
    page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("requestfailed", lambda request: said.append(f"{request.url}: {request.failure}"))
    page.on("response", lambda response: response.ok or said.append(f"{response.url}: {response.status}"))
    return said


def test_every_page_can_be_reached_and_no_link_is_dead(site, address):
    """From the first page on; a page that no link leads to is none."""
    seen, waiting = {}, [f"{address}index.html"]
    with browser.new_page(width=PHONE, height=800) as page:
        said = complaints(page)
        while waiting:
            url = waiting.pop()
            page.goto(url)
            seen[url] = page.evaluate(LOOK)
            there = {urldefrag(link).url for link in seen[url]["links"] if link.startswith(address)}
            waiting += sorted(link for link in there if link.endswith(".html") and link not in {*seen, *waiting})
    assert said == []
    pages = {path.relative_to(site).as_posix() for path in site.rglob("*.html")} - {"404.html"}
    assert {url.removeprefix(address) for url in seen} == pages
    for url, found in seen.items():
        assert (found["width"], found["cut"]) == (PHONE, []), url
        for link in found["links"]:
            there, fragment = urldefrag(link)
            if there.startswith(address) and there in seen and fragment:
                assert fragment in seen[there]["anchors"], f"{url} links to {link}"


def test_the_search_finds_what_becomes_of_a_training_that_is_killed(address):
    with browser.new_page(width=1280, height=900) as page:
        said = complaints(page)
        page.goto(f"{address}index.html")
        page.keyboard.press("/")
        page.keyboard.type("killed")
        found = page.get_by_role("link").filter(has_text="killed")
        browser.expect(found.first).to_be_visible()
        found.first.click()
        browser.expect(page.locator("article")).to_contain_text("killed")
    assert said == []
