"""Text from data in Markdown: rendered as our documentation is, it is the text and nothing else."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.common.markdown import anchors, code_block, escape_inline

markdown = pytest.importorskip("markdown", reason="pip install mkdocs")
EXTENSIONS = ["admonition", "attr_list", "tables", "toc"]
HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "<script>alert(1)</script>",
    "a | b",
    "`code` ``x``",
    "[b](javascript:alert(1))",
    "![b](http://example.org/x.png)",
    "**bold** _em_ __strong__ a_b_c",
    "# heading",
    "- item",
    "1. item",
    "> quote",
    "---",
    "{: #x onclick=alert(1) }",
    "x {onclick=alert(1)}",
    "&lt;b&gt; &#60; & &copy;",
    "<https://example.org>",
    "a\n\n# b",
    "[ref]: http://example.org",
    "\\<b\\>",
    "\x1b[31mred\u202e",
)


class Seen(HTMLParser):
    """The elements of a page, their attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, tuple[str, ...]]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, tuple(name for name, _ in attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def plain(text: str) -> str:
    """What is to be seen of a text: one line without control characters."""
    from finetune.common.messages import without_controls

    return " ".join(without_controls(text, " ").split())


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_name_is_the_text_that_it_is(text: str) -> None:
    page = Seen(markdown.markdown(escape_inline(text), extensions=EXTENSIONS))
    assert {tag for tag, _ in page.elements} <= {"p"}
    assert page.text.strip() == plain(text)
    table = f"| a | b |\n|---|---|\n| {escape_inline(text)} | [{escape_inline(text)}](#x) |"
    page = Seen(markdown.markdown(table, extensions=EXTENSIONS))
    tags = [tag for tag, _ in page.elements]
    assert tags == ["table", "thead", "tr", "th", "th", "tbody", "tr", "td", "td", "a"]
    assert page.text.count(plain(text)) == 2
    page = Seen(markdown.markdown(f"### {escape_inline(text)}", extensions=EXTENSIONS))
    assert [(tag, names) for tag, names in page.elements] == [("h3", ("id",))]


@settings(max_examples=200, deadline=None, database=None, derandomize=True)
@given(text=st.text("ab <>&#[]()!`*_{}|\\~$-+=.:1\n\"'", max_size=25))
def test_any_text_is_shown_and_makes_no_element(text: str) -> None:
    page = Seen(markdown.markdown(f"x {escape_inline(text)}", extensions=EXTENSIONS))
    assert [tag for tag, _ in page.elements] == ["p"]
    assert page.text.strip() == plain(f"x {text}")


def test_code_stays_in_its_block() -> None:
    page = Seen(markdown.markdown(code_block("a ```\n<b>", "bash"), extensions=["pymdownx.superfences"]))
    assert "b" not in {tag for tag, _ in page.elements}
    assert "a ``` <b>" in page.text


def test_anchors_are_those_of_the_documentation() -> None:
    names = ["seeds", "seeds", "Ä b!", "runs", "日本", "x_1", "x", "x"]
    text = "# Findings\n\n## Runs\n\n" + "\n\n".join(f"### {escape_inline(name)}" for name in names)
    made = markdown.Markdown(extensions=EXTENSIONS)
    made.convert(text)
    found = [each["id"] for each in made.toc_tokens[0]["children"][0]["children"]]
    assert anchors(names, ("findings", "runs")) == found
