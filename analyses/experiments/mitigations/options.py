"""Options of mitigations."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from analyses.common.world_options import WorldOrFactsOptions
from finetune.common.errors import InputError


@dataclass(frozen=True, kw_only=True)
class MitigationsOptions(WorldOrFactsOptions):
    """How does one get lost facts back that are still stored, or keep them, and what does that cost?"""

    out: Path = Path("runs/mitigations")
    """Run directory; the same command continues it."""
    only: tuple[str, ...] = ()
    """Measure only cures whose names hold one of these words, beside the uncured arm (default: all)."""

    def check(self) -> None:
        """Refuse settings that can lead nowhere."""
        super().check()
        for word in self.only:
            if not any(word in name for name in _names()):
                raise InputError(f"--only {word}: no cure's name holds it; there are {'; '.join(_names())}")

    @property
    def cures(self) -> tuple[str, ...]:
        """The cures, references and placebos to measure."""
        from analyses.experiments.mitigations.treatments import NONE

        named = [n for n in _names() if not self.only or n == NONE or any(word in n for word in self.only)]
        return tuple(named)


def _names() -> tuple[str, ...]:
    from analyses.experiments.mitigations.treatments import CURES, PLACEBOS, REFERENCES

    return (*REFERENCES, *CURES, *PLACEBOS)
