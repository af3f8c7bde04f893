"""Figures of a run directory inside a page: of hostile markup nothing runs, fetches or grows."""

from __future__ import annotations

import io
import os
import time
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from finetune.common.errors import InputError
from interp.reports.figures.style import house_style, inline_svg, new_figure, save
from interp.reports.figures.svg import inline_file, inline_markup
from interp.reports.pages.study import Study, StudyFigure
from interp.reports.pages.study_page import rebuild, write_study

from .browser import browser, needs_browser, opened  # noqa: F401 (a fixture)

WHERE = "http://127.0.0.1:9/"
HEAD = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 9 9">'
PARTS = {
    "escaped url": rf'<rect width="9" style="fill: u\72l({WHERE})"/>',
    "escaped url in hexadecimal": rf'<rect width="9" style="fill: \000075rl({WHERE})"/>',
    "escaped property": rf'<rect width="9" style="fi\6cl: url({WHERE})"/>',
    "url in an attribute": f'<rect width="9" fill="url({WHERE})"/>',
    "quoted url": f"""<rect width="9" style='fill: url("{WHERE}#a")'/>""",
    "url in capitals": f'<rect width="9" filter="URL ({WHERE})" mask="url({WHERE})"/>',
    "url as entities": f'<rect width="9" style="fill: &#117;&#x72;l&#40;{WHERE})"/>',
    "comment inside url": f'<rect width="9" style="fill: ur/**/l({WHERE})"/>',
    "cursor": f'<rect width="9" style="cursor: url({WHERE}), auto"/>',
    "image-set": f"""<rect width="9" style='fill: image-set("{WHERE}" 1x); fill: src("{WHERE}")'/>""",
    "import": f'<style>@import "{WHERE}"; * {{ background: url({WHERE}) }}</style>',
    "import without a namespace": f'<style xmlns="">@import "{WHERE}";</style>',
    "style of XHTML": f'<style xmlns="http://www.w3.org/1999/xhtml">@import "{WHERE}";</style>',
    "style inside a title": f'<title><style>@import "{WHERE}";</style><g><style>x</style></g></title>',
    "style inside a description": f'<desc>a<g><image href="{WHERE}"/></g></desc>',
    "script": f'<script href="{WHERE}">window.hacked = 1</script><script>window.hacked = 1</script>',
    "events": '<rect width="9" onload="hacked = 1" onclick="hacked = 1"/><g onfocus="x"/>',
    "foreign object": f'<foreignObject><g><image href="{WHERE}"/></g></foreignObject>',
    "links": f'<a href="{WHERE}"><text>x</text></a><a xlink:href="javascript:hacked = 1"><text>y</text></a>',
    "use of a file": f'<use href="{WHERE}#a"/><use xlink:href="{WHERE}#a"/><use href="data:,x#a"/>',
    "images": f'<image href="{WHERE}"/><image xlink:href="{WHERE}"/><image href="data:image/svg+xml,A"/>',
    "animation": f'<animate attributeName="href" to="{WHERE}"/><set attributeName="onclick" to="x"/>',
    "base": f'<g xml:base="{WHERE}"><use href="#a"/></g>',
    "filter": f'<filter id="f"><feImage href="{WHERE}"/></filter><rect filter="url(#f)"/>',
    "ids": '<g id="x&quot; onload=&quot;hacked = 1"/><g id="&lt;script>hacked = 1&lt;/script>"/>',
    "fixed in front": '<rect style="position: fixed; inset: 0; z-index: 9" class="skip"/>',
    "text": "<text>&lt;/svg>&lt;script>hacked = 1&lt;/script>&lt;img src=x onerror='hacked = 1'></text>",
    "processing": "<?xml-stylesheet href='http://127.0.0.1:9/'?><!-- ><script>hacked = 1</script> -->",
    "sections": "<text><![CDATA[</svg><script>hacked = 1</script>]]></text>",
}
GONE = (
    WHERE,
    "127.0.0.1",
    "\\",
    "@import",
    "javascript",
    "onload",
    "onclick",
    "<script",
    "foreignObject",
    "fixed",
)


@pytest.mark.parametrize("name", PARTS)
def test_nothing_that_runs_or_fetches_is_left(name: str) -> None:
    svg = inline_markup(f"{HEAD}{PARTS[name]}<path d='M 0 0 L 9 9'/></svg>", "p", label=name)
    kept = svg.replace("xmlns", "")
    assert not [sign for sign in GONE if sign in kept]
    assert "M 0 0 L 9 9" in svg


def test_a_drawing_of_matplotlib_loses_nothing() -> None:
    """Element by element and property by property, but for what the page gives of its own."""
    figure = new_figure(width=6, height=4)
    first, second, third = figure.subplots(1, 3)
    first.imshow(np.arange(4).reshape(2, 2))
    second.bar([1, 2], [3, 4], hatch="//", alpha=0.5)
    second.set_title("a <b> & $x^2$ --!> \x1b")
    third.plot([1, 2], [2, 1], "--o", label="x")
    third.legend()
    buffer = io.StringIO()
    with house_style():
        figure.savefig(buffer, format="svg")
    drawn = ElementTree.fromstring(buffer.getvalue().replace("\x1b", "\ufffd"))
    kept = ElementTree.fromstring(inline_markup(buffer.getvalue(), "p", label="x"))
    drawn.remove(drawn[0])  # its metadata
    assert [each.tag for each in drawn.iter()] == [each.tag for each in kept.iter()]
    for before, after in zip(drawn.iter(), kept.iter(), strict=True):
        assert set(before.attrib) - {"type"} == set(after.attrib) - ({"style"} - set(before.attrib))
        names = [
            [part.split(":")[0].strip() for part in e.get("style", "").split(";")] for e in (before, after)
        ]
        assert names[0] == names[1]
        assert before.text == after.text
    assert inline_svg(figure, "p").count("<image") == 1


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('<!DOCTYPE svg [<!ENTITY a "x">]>' + HEAD + "&a;</svg>", "declares entities"),
        (HEAD + "<g>" * 10**5 + "</g>" * 10**5 + "</svg>", "nested more than 100 deep"),
        (HEAD, "cannot be read as an SVG"),
        ("<html/>", "is no SVG figure"),
        ("\ud800", "cannot be read|is no SVG"),
    ],
)
def test_what_is_no_figure_is_refused_at_once(text: str, told: str) -> None:
    start = time.monotonic()
    with pytest.raises(InputError, match=told):
        inline_markup(text, "p", label="a.svg")
    assert time.monotonic() - start < 2


def test_what_repeats_itself_is_dropped(tmp_path: Path) -> None:
    bomb = "<defs><path id='g0' d='M 0 0'/>"
    bomb += "".join(f"<g id='g{i + 1}'>{f'''<use href='#g{i}'/>''' * 10}</g>" for i in range(9)) + "</defs>"
    svg = inline_markup(f"{HEAD}{bomb}<use href='#g9'/><use href='#g0'/></svg>", "p", label="x")
    assert svg.count("#p-g0") == 11
    assert "#p-g1" not in svg
    os.mkfifo(tmp_path / "pipe.svg")
    with pytest.raises(InputError, match="is a pipe"):
        inline_file(tmp_path / "pipe.svg", "p")


@needs_browser
def test_a_page_with_hostile_figures_asks_nothing_and_runs_nothing(browser, tmp_path: Path) -> None:  # noqa: F811
    (tmp_path / "manifest.json").write_text('{"command": "x"}')
    figure = new_figure(width=3, height=2)
    shown = tuple(StudyFigure(name=f"f{i}", figure=None, caption=name) for i, name in enumerate(PARTS))
    (tmp_path / "figures").mkdir()
    for each, markup in zip(shown, PARTS.values(), strict=True):
        (tmp_path / "figures" / f"{each.name}.svg").write_text(f"{HEAD}{markup}</svg>")
    with house_style():
        save(figure, tmp_path / "figures" / "plain")
    study = Study(
        title="T", question="q", finding="f", outcome="measured", tables=(), figures=shown, notes=("n",)
    )
    write_study(tmp_path, study)
    with opened(browser, rebuild(tmp_path)) as page:
        page.wait_for_timeout(200)
        assert page.evaluate("window.hacked") is None
        assert page.locator("svg").count() == len(PARTS)
        assert (
            page.locator("main script, main iframe, main img, svg a, svg [class], svg foreignObject").count()
            == 0
        )
