"""What a notebook shows and a file keeps: a page that runs by itself, and a picture of the same.

A view shows itself in an inline frame with a document of its own: its scripts run in Jupyter Lab, in Notebook
and in VS Code, nothing of it reaches the notebook's page, and its content security policy forbids every
request. Where the frame is taken out, as in a notebook that is not trusted, the picture stays.
"""

from __future__ import annotations

import base64
from abc import ABC, abstractmethod
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any, ClassVar

from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from finetune.common.files import atomic_file
from finetune.common.short_repr import ShortRepr
from interp.reports.figures.style import small_png

DPI = 110  # of the picture in a notebook: about 20 kB


class View(ShortRepr, ABC):
    """Something to look at: ``static`` is its picture, ``page()`` and ``save`` make the interactive one."""

    title: str
    template: ClassVar[str]
    scripted: ClassVar[bool] = True

    @property
    @abstractmethod
    def static(self) -> Figure:
        """The same as a matplotlib figure, in the house style."""

    @property
    @abstractmethod
    def alternative(self) -> str:
        """What the picture shows, in a sentence."""

    @property
    @abstractmethod
    def height(self) -> int:
        """How many pixels the frame is high."""

    @abstractmethod
    def fill(self) -> Mapping[str, Any]:
        """Return the template's values beside ``view``; what is no ``Markup`` is escaped."""

    def page(self, *, picture: bool = True) -> str:
        """Render one self-contained HTML document; with its picture, which shows where scripts do not run."""
        shown = self._png() if picture else ""
        template = template_environment().get_template(self.template)
        return template.render(view=self, picture=shown, **self.fill())

    def save(self, path: str | Path) -> Path:
        """Write the page, whole or not at all, and return its path."""
        return write_page(Path(path), self.page())

    def _repr_html_(self) -> str:
        return self._html(self._png())

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Mapping[str, str]:
        png = self._png()
        return {"text/html": self._html(png), "image/png": png, "text/plain": self.alternative}

    def _html(self, png: str) -> str:
        """Frame the page; the frame may run scripts but counts as another site, so it shares nothing."""
        document = escape(self.page(picture=False)).encode(errors="replace").decode()
        text = escape(self.alternative)
        return (
            f'<iframe sandbox="allow-scripts" title="{text}" srcdoc="{document}" '
            f'style="width:100%;height:{self.height}px;border:0" loading="lazy"></iframe>'
            f'<details><summary>As a picture</summary><img alt="{text}" '
            f'src="data:image/png;base64,{png}"></details>'
        )

    def _png(self) -> str:
        return base64.b64encode(small_png(self.static, dpi=DPI)).decode()


def template_environment() -> Environment:
    """Return the templates of pages and views, with everything escaped that is put into them."""
    return Environment(
        loader=PackageLoader("interp", "reports/templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def write_page(path: Path, html: str) -> Path:
    """Write a page, whole or not at all, and return its path."""
    with atomic_file(path) as temporary:
        # A lone surrogate, from a token that is half a character, cannot be encoded.
        temporary.write_text(html, encoding="utf-8", errors="replace")
    return path
