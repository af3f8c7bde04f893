# Two commands set everything up on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
USED   := $(VENV)/.installed
TESTED := $(VENV)/.installed-dev
export HF_HUB_OFFLINE ?= 1
export TOKENIZERS_PARALLELISM = false

.PHONY: demo test lint format clean

demo: $(USED)
	$(BIN)/python analyses/attention_imbalance.py --out runs/demo

# One thread a worker: two workers that each take all cores slow each other down several times over.
test: $(TESTED) lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

lint: $(TESTED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(TESTED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# To use it takes a third of the packages that to test it takes.
$(USED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(TESTED): $(USED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
