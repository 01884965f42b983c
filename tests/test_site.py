"""The site of the documents: every document is a page of it, and nothing in it leads nowhere."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import click
import pytest

import tracking_hooks
from tests import api
from tests.makefile import ROOT, commands
from tests.support import website
from tests.support.website import script
from tracking_hooks.cli import main

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    return website.built(tmp_path_factory.mktemp("docs"))


@pytest.fixture
def small(tmp_path, monkeypatch):
    """The script, with a repository of one document."""
    builder = script("website")
    for name in ("docs/site.css", "docs/images/shown.png", "examples/code.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"# {name}\n")
    monkeypatch.setattr(builder, "ROOT", tmp_path)

    def build(text: str) -> str:
        (tmp_path / "README.md").write_text(text)
        (tmp_path / "build").mkdir(exist_ok=True)
        return builder.build(tmp_path / "build")

    return build


def read(path: str) -> str:
    return (ROOT / path).read_text("utf-8")


def leaves(nav: list[Any]) -> Iterator[str]:
    for entry in nav:
        for inside in entry.values():
            yield from [inside] if isinstance(inside, str) else leaves(inside)


def public() -> list[tuple[str, str]]:
    """Each public name that is not a hook, with the module that it is imported from."""
    package = api._package()
    modules = [name for name in api.MODULES if f"tracking_hooks.{name}" in script("api").MODULES]
    return [
        *(("tracking_hooks", name) for name in tracking_hooks.__all__),
        *((f"tracking_hooks.{module}", name) for module in modules for name in package[module].exports or ()),
    ]


# -- what is written by scripts -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["commands", "api"])
def test_the_reference_is_what_the_code_says(name):
    written = subprocess.run(
        [sys.executable, ROOT / f"docs/{name}.py"], capture_output=True, encoding="utf-8", check=True
    ).stdout
    assert read(f"docs/{name}.md") == written, f"write it: python docs/{name}.py > docs/{name}.md"


def test_every_public_name_is_in_the_reference_with_what_it_is():
    prose = re.sub(r"^```.*?^```$|^\|.*?$", "", read("docs/api.md"), flags=re.MULTILINE | re.DOTALL)
    sections = re.findall(r"^### (\w+)\n(.*?)(?=^##|\Z)", prose, re.MULTILINE | re.DOTALL)
    told = {name: text.strip() for name, text in sections}
    assert {name for _, name in public()} <= told.keys()
    assert [name for name, text in told.items() if not text] == [], "they have no docstring"
    assert len(sections) == len(told), "a name that two modules have is told once"


def test_the_commands_have_all_their_options_in_the_reference():
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", read("docs/commands.md"), re.MULTILINE | re.DOTALL))
    context = click.Context(main)
    assert list(sections) == main.list_commands(context)
    for name, section in sections.items():
        options = [word for one in main.get_command(context, name).params for word in one.opts if word.startswith("--")]
        for option in {*options} - {"--", "--help"}:
            assert re.search(rf"^\| `[^`]*{option}\b", section, re.MULTILINE), f"{name} {option}"


# -- what is on the site --------------------------------------------------------------------------------------


def test_every_document_is_a_page_in_the_navigation():
    nav = list(leaves(tomllib.loads(read("docs/zensical.toml"))["project"]["nav"]))
    pages = script("website").documents()
    assert sorted(nav) == sorted(pages.values()), "list them in `nav` of docs/zensical.toml"
    assert len(set(pages.values())) == len(pages), "two documents are one page"


@website.needed
def test_the_site_is_built_without_a_complaint_and_has_every_page(site):
    for page in script("website").documents().values():
        assert (site / page).with_suffix(".html").exists()


@website.needed
def test_what_a_document_links_to_is_a_page_of_the_site(site):
    start = (site / "index.html").read_text("utf-8")
    assert 'href="trackers/mlflow.html"' in start
    assert 'href="source/examples/csv_tracker.py.html"' in start
    assert "CsvTracker" in (site / "source/examples/csv_tracker.py.html").read_text("utf-8")
    assert (site / "images/mlflow.png").read_bytes() == (ROOT / "docs/images/mlflow.png").read_bytes()
    folder = (site / "source/examples/tracking-hooks-webhook.html").read_text("utf-8")
    assert 'href="tracking-hooks-webhook/pyproject.toml.html"' in folder


@website.needed
def test_the_site_fetches_nothing_from_elsewhere(site):
    for page in site.rglob("*.html"):
        loaded = re.findall(r"<(?:script|link|img|iframe)\b[^>]*", page.read_text("utf-8"))
        assert [tag for tag in loaded if re.search(r"(?:src|href)=\"?https?:", tag)] == [], page


@website.needed
@pytest.mark.parametrize(
    "heading", ["on_log(metrics, step)", "`state` and `open`", "W&B: what it is", "1. Set `a_b-c`", "What's new?"]
)
def test_headings_have_the_anchors_that_hosts_of_markdown_give_them(small, heading):
    anchor = re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-")
    assert small(f"# Title\n\n[there](#{anchor})\n\n## {heading}\n") == ""


@website.needed
def test_a_list_in_a_list_stays_one(small, tmp_path):
    assert small("# Title\n\n- one\n  - below it\n- two\n") == ""
    assert re.search(r"<li>one\s*<ul>\s*<li>below it", (tmp_path / "build/site/index.html").read_text("utf-8"))


@website.needed
def test_a_type_in_a_table_is_shown_as_on_a_host_of_markdown(small, tmp_path):
    assert small("# Title\n\n| Field | Type |\n| --- | --- |\n| `seq` | `int \\| None` |\n") == ""
    assert "<code>int | None</code>" in (tmp_path / "build/site/index.html").read_text("utf-8")


@website.needed
def test_a_comment_above_code_is_not_shown_and_the_code_is(small, tmp_path):
    assert small("# Title\n\nThis way:\n\n<!-- not run: a reason -->\n```console\n$ train\n```\n\nAnd so on.\n") == ""
    article = re.search(r"<article.*</article>", (tmp_path / "build/site/index.html").read_text("utf-8"), re.DOTALL)[0]
    shown = re.sub(r"<!--.*?-->", "", article, flags=re.DOTALL)
    assert "a reason" not in shown
    assert "```" not in shown
    assert re.search(r"<pre>.*train.*</pre>.*And so on", shown, re.DOTALL)


def test_a_drawing_is_text_or_a_picture():
    """Mermaid's are drawn by a script that is fetched from elsewhere."""
    assert [name for name in script("website").documents() if "```mermaid" in read(name)] == []


# -- what is wrong --------------------------------------------------------------------------------------------


@website.needed
def test_a_link_to_a_heading_that_is_not_there_fails_the_build(small):
    complaints = small("# Title\n\n[there](#nowhere)\n")
    assert "anchor does not exist" in complaints
    assert "index.md:3" in complaints
    assert "Traceback" not in complaints


@pytest.mark.parametrize("text", ["[there](docs/no.md)", "![shown](docs/images/no.png)", '<img src="no.png">'])
def test_a_link_to_a_file_that_is_not_there_fails_the_build_and_names_the_document(small, text):
    with pytest.raises(Exception, match=r"README\.md links to .*no.*, which does not exist"):
        small(f"# Title\n\n{text}\n")


@website.needed
def test_what_stands_in_code_is_no_link(small):
    assert small("# Title\n\n```python\nrows[0](nothing)\nx = [f](docs/nothing.md)\n```\n") == ""


def test_lint_builds_the_site_and_a_python_without_zensical_says_that_it_does_not(monkeypatch, capsys, tmp_path):
    assert "docs/website.py" in commands("lint")[-1]
    assert "docs/website.py" in commands("docs")[-1]
    builder = script("website")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "argv", ["website.py", "--into", str(tmp_path)])
    assert builder.main() == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("The site of the documents is not built")
    assert list(tmp_path.iterdir()) == []
