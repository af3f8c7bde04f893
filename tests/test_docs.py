"""The documentation: its site builds without a warning, its links lead somewhere, its examples run."""

from __future__ import annotations

import ast
import doctest
import importlib
import logging
import re
from pathlib import Path

import pytest

from tests.documentation import FENCE, OURS, PAGES, ROOT, fenced, named

WITH_EXAMPLES = (
    "finetune.checkpoints.adapter_files",
    "finetune.common.markdown",
    "finetune.common.messages",
    "finetune.data.facts",
    "finetune.data.prompts",
    "finetune.data.records.fact",
    "finetune.data.records.subject_position",
    "finetune.data.splits",
    "finetune.evaluation.asking_forms",
    "finetune.evaluation.exact_match",
    "finetune.evaluation.judging",
    "interp.measures.placebos",
    "interp.measures.shapley",
    "interp.measures.spans",
    "interp.stats.means",
    "interp.stats.seeds",
)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
REQUEST = re.compile(
    r"""<(?:script|img|iframe)[^>]*\ssrc=["']?(?:https?:)?//|<link[^>]*href=["']?(?:https?:)?//"""
)


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_in_docstrings_run(name: str):
    found = doctest.testmod(importlib.import_module(name), optionflags=doctest.IGNORE_EXCEPTION_DETAIL)
    assert found.attempted
    assert not found.failed


def test_all_modules_with_examples_are_tested():
    holding = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for package in OURS
        for path in (ROOT / package).rglob("*.py")
        if re.search(r"^\s*>>> ", path.read_text(encoding="utf-8"), re.M)
    }
    assert holding == set(WITH_EXAMPLES)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site; a warning is an error."""
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    folder = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setenv("NO_MKDOCS_2_WARNING", "1")
        logging.getLogger("mkdocs").setLevel(logging.WARNING)
        config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder), strict=True)
        config.plugins.on_startup(command="build", dirty=False)
        build(config)
    return folder


def test_the_site_asks_no_other_site_for_anything(site: Path):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 20
    asking = {page.name for page in pages if REQUEST.search(page.read_text(encoding="utf-8"))}
    assert not asking
    for sheet in site.rglob("*.css"):
        assert not re.search(r"@import|url\(\s*[\"']?https?:", sheet.read_text(encoding="utf-8"))


def test_every_page_is_in_the_navigation(site: Path):
    """Look for each page in the home page's navigation; one that is not there, nobody finds."""
    home = (site / "index.html").read_text(encoding="utf-8")
    for path in (ROOT / "docs").rglob("*.md"):
        place = path.relative_to(ROOT / "docs").with_suffix("").as_posix()
        assert f'href="{place}/"' in home, f"{named(path)} is missing in nav of mkdocs.yml"


def test_the_reference_has_every_public_name(site: Path):
    pages = {
        package: (site / "api" / package / "index.html").read_text() for package in ("finetune", "interp")
    }
    for package, page in pages.items():
        for name in importlib.import_module(package).__all__:
            assert re.search(rf'id="{package}\.[\w.]*\b{name}"', page), f"{package}.{name}"


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_links_lead_to_files_and_headings(path: Path):
    """As GitHub resolves them: relative to the file they stand in."""
    text = FENCE.sub("", path.read_text(encoding="utf-8"))
    for link in LINK.findall(text):
        if re.match(r"https?://|mailto:", link):
            continue
        place, _, anchor = link.partition("#")
        target = (path.parent / place).resolve() if place else path
        assert target.exists(), link
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), link


def anchors(path: Path) -> set[str]:
    """List a page's headings as GitHub names them."""
    text = FENCE.sub("", path.read_text(encoding="utf-8"))
    heads = re.findall(r"^#+\s+(.*?)\s*$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize(("page", "code"), fenced("python"))
def test_code_on_a_page_names_things_that_exist(page: str, code: str):
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in OURS:
            module = importlib.import_module(node.module)
            for alias in node.names:
                assert hasattr(module, alias.name), f"{node.module}.{alias.name}"


def test_the_measurement_on_the_page_about_adding_one_is_right(tiny_llama_dir, tiny_tokenizer, prompts):
    """Run the page's code and compare with attention that the plain model returns."""
    import torch
    from transformers import AutoModelForCausalLM

    from interp import encode, load_pair

    code = next(code for page, code in fenced("python") if page == "docs/extending.md")
    made: dict[str, object] = {"__name__": "page"}
    exec(compile(code, "docs/extending.md", "exec", dont_inherit=True), made)
    batch = encode(tiny_tokenizer, prompts)
    with load_pair(tiny_llama_dir).base() as model:
        result = made["first_token_attention"](model, batch)  # type: ignore[operator]
    plain = AutoModelForCausalLM.from_pretrained(tiny_llama_dir, attn_implementation="eager")
    with torch.inference_mode():
        patterns = plain(batch.input_ids, batch.attention_mask, output_attentions=True).attentions
    for row, mask in enumerate(batch.subject_mask):
        first = int(mask.nonzero()[0])
        wanted = torch.stack([layer[row, :, int(batch.last[row]), first] for layer in patterns])
        torch.testing.assert_close(result.values[row], wanted, atol=1e-5, rtol=0)
    assert len(result.to_frame()) == result.values.numel()
