"""circuitsvis' code for a page that asks no network, and JSON that is safe inside a script element."""

from __future__ import annotations

import base64
import gzip
import json
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from finetune.common.errors import InputError


def script_json(value: Any) -> str:
    """Write JSON that is safe inside a script element: no ``<`` can close it, no odd line break splits it."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    unsafe = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
    for character, escaped in unsafe.items():
        text = text.replace(character, escaped)
    return text


def bundle() -> str:
    """Return circuitsvis' bundle (it defines ``CircuitsVis``) for one inline script; nothing is imported.

    Raises:
        InputError: the installed circuitsvis does not carry its bundle.
    """
    try:
        located = metadata.distribution("circuitsvis").locate_file("circuitsvis/dist/cdn/iife.js")
        code = Path(str(located)).read_text(encoding="utf-8")
    except (metadata.PackageNotFoundError, FileNotFoundError):
        raise InputError("circuitsvis: its bundle is not installed; run pip install circuitsvis") from None
    # Developer tools would ask for the source map it names; one of its strings holds "</script>".
    code = code.split("//# sourceMappingURL=")[0]
    return code.replace("</script", "<\\/script").replace("<!--", "<\\!--")


@cache
def packed_bundle() -> str:
    """Return the bundle as base64 of gzip (0.5 MB instead of 1.3), which ``circuits.js`` unpacks.

    Raises:
        InputError: the installed circuitsvis does not carry its bundle.
    """
    return base64.b64encode(gzip.compress(bundle().encode(), mtime=0)).decode()
