# Four commands set everything up on a fresh machine: `make demo`, `make real`, `make lab` and `make test`.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
USED   := $(VENV)/.installed
REAL   := $(VENV)/.installed-geonames
LAB    := $(VENV)/.installed-notebooks
TESTED := $(VENV)/.installed-dev
export HF_HUB_OFFLINE ?= 1
export TOKENIZERS_PARALLELISM = false

# The real model computes in bfloat16 where the processor does, nearly three times as fast.
DTYPE  ?= $(if $(shell grep -m 1 -o avx512_bf16 /proc/cpuinfo 2> /dev/null),bfloat16,float32)

.PHONY: demo real study lab test lint format clean model

demo: $(USED)
	$(BIN)/python analyses/attention_imbalance.py --out runs/demo

real: $(REAL)
	$(BIN)/factscope fetch smollm2-135m
	$(BIN)/python analyses/attention_imbalance.py --base smollm2-135m --facts geonames@even --limit 2000 \
		--method lora --dtype $(DTYPE) --seeds 0 --out runs/real

# Continues where the committed cells end; on two cores two cells run at a time.
study: $(REAL)
	$(BIN)/factscope fetch smollm2-135m
	OMP_NUM_THREADS=1 $(BIN)/python analyses/popularity_splits.py --yaml docs/studies/geonames-smollm2-135m.yaml \
		--out runs/study

lab: $(LAB)
	$(BIN)/jupyter lab notebooks/01_first_look.ipynb

# The tests take the model from the cache; where it cannot be had, they skip what needs it and say so.
model: $(TESTED)
	-$(BIN)/factscope fetch smollm2-135m

# One thread a worker: two workers that each take all cores slow each other down several times over. Each
# takes whole files, long ones first (tests/conftest.py), so that what a file's tests share is made once.
test: $(TESTED) lint model
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

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

$(REAL): $(USED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[geonames]'
	@touch $@

$(LAB): $(USED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[geonames,notebooks]'
	@touch $@

$(TESTED): $(USED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
