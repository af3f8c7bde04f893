"""Safe loading of YAML: plain mappings, lists and text, nothing that runs, refers, repeats or grows.

1. Parse the file into events; libyaml does, where it is installed.
2. Build values from the events without recursion. Scalars stay the text that stands in the file, so that
   ``no``, ``1e-3``, ``010`` and dates are what they look like; only ``null``, ``~`` and nothing are None.
3. Refuse, by line, what has no place in such a file: aliases and merges (a few lines of them can stand for
   billions of values), tags, keys that occur twice or are no text, several documents, deep nesting.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from finetune.common.errors import InputError
from finetune.common.messages import printable
from finetune.common.text_files import read_text

DEEPEST = 20
_NULLS = ("", "~", "null", "Null", "NULL")
_CORE = frozenset(f"tag:yaml.org,2002:{name}" for name in "str int float bool null seq map".split())


def load_yaml(path: Path, *, label: str = "", hint: str = "write one option a line, as in steps: 100") -> Any:
    """Load a YAML file as mappings, lists, text and None.

    Args:
        path: the file.
        label: what names it in an error, as ``--yaml runs.yaml``; the path by default.
        hint: what to write instead of something that is no YAML.

    Raises:
        InputError: in one line, with the line of the file; see the module's docstring.
    """
    name = label or str(path)
    text = read_text(path, label=label)
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    builder = _Builder(name)
    try:
        for event in yaml.parse(text, Loader=loader):
            builder.take(event)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        told = printable(getattr(error, "problem", None) or getattr(error, "reason", None) or "", 100)
        raise InputError(f"{name}{line}: is not YAML{f' ({told})' if told else ''}; {hint}") from None
    return builder.value


class _Builder:
    """Builds the value of a document from its events, the open collections on a stack."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.value: Any = None
        self.documents = 0
        self.open: list[tuple[Any, list[str]]] = []  # a collection, and the key that waits for its value

    def take(self, event: Any) -> None:
        """Take the next event."""
        if isinstance(event, yaml.DocumentStartEvent):
            self.documents += 1
            if self.documents > 1:
                self.refuse(event, "begins a second document; keep one")
        elif isinstance(event, yaml.AliasEvent):
            self.refuse(event, f"refers to *{event.anchor}; write out what stands there")
        elif isinstance(event, yaml.ScalarEvent):
            self.check_tag(event)
            self.put(event, event.value, is_text=True)
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            self.check_tag(event)
            if len(self.open) == DEEPEST:
                self.refuse(event, f"is nested more than {DEEPEST} deep; flatten it")
            made: Any = {} if isinstance(event, yaml.MappingStartEvent) else []
            self.put(event, made, is_text=False)
            self.open.append((made, []))
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            self.open.pop()

    def put(self, event: Any, value: Any, *, is_text: bool) -> None:
        """Put a value where it belongs: a key, a key's value, an item, or the whole document."""
        null = is_text and not event.style and value in _NULLS
        if not self.open:
            self.value = None if null else value
            return
        holder, waiting = self.open[-1]
        if isinstance(holder, list):
            holder.append(None if null else value)
        elif waiting:
            holder[waiting.pop()] = None if null else value
        elif not is_text:
            self.refuse(event, "has a list or a mapping as a key; write text")
        elif value == "<<" and not event.style:
            self.refuse(event, "merges another mapping (<<); write out what stands there")
        elif value in holder:
            self.refuse(event, f"key {printable(value, 80)!r} occurs twice in one place; keep one")
        else:
            waiting.append(value)

    def check_tag(self, event: Any) -> None:
        """Refuse a tag that asks for more than text, lists and mappings."""
        if event.tag not in (None, "!") and event.tag not in _CORE:
            self.refuse(event, f"has the tag {printable(event.tag, 80)}; write plain text")

    def refuse(self, event: Any, problem: str) -> None:
        """Say by line what has no place here."""
        raise InputError(f"{self.name}:{event.start_mark.line + 1}: {problem}")
