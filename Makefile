# Every target first makes sure that .venv exists and matches pyproject.toml and constraints.txt.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

# Said before anything is made; written so that even an old Python understands it.
OLD := import sys; v = sys.version_info[:2]; sys.exit(None if v >= (3, 11) else "Python 3.11 to 3.13 is needed, and $(PYTHON) is %d.%d. Give another one: make PYTHON=python3.12 $(MAKECMDGOALS)" % v)

# `make book TORCH=cpu` takes the build without CUDA, from PyTorch's own index: on Linux it is gigabytes smaller.
TORCH ?=
$(if $(filter-out cpu,$(TORCH)),$(error TORCH is cpu, or not given; found '$(TORCH)'))

BENCHES   := $(sort $(wildcard tests/bench/bench_*.py))

# Two workers with one thread each use two cores without quarrelling over them.
WORKERS ?= 2
RUN     := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadscope

.PHONY: help book test proof class lab check notebooks prose timings records bench clean
.DEFAULT_GOAL := help

help:           ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 12

$(STAMP): pyproject.toml constraints.txt
	@$(BIN)/python -c 'import pip' 2>/dev/null || { $(PYTHON) -c '$(OLD)' && rm -rf $(VENV) && $(PYTHON) -m venv $(VENV); }
	$(if $(TORCH),$(BIN)/python -m pip install -c constraints.txt torch torchvision --index-url https://download.pytorch.org/whl/cpu)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[book,lab,deploy,test,dev]'
	touch $@

book: $(STAMP)  ## build the site
	$(BIN)/python book/tools/vendor.py
	rm -rf _build/html
	$(BIN)/jupyter-book build . --toc book/_toc.yml --all -W -n --keep-going
	@echo "The book: _build/html/index.html"

test: $(STAMP)  ## run every test, then every notebook alone, and compare its stored outputs
	$(RUN)
	OMP_NUM_THREADS=1 $(BIN)/python book/tools/alone.py -n $(WORKERS) --dist loadscope

proof: $(STAMP) ## open every page of the built site in every way that readers do
	PROOF=1 $(RUN) -m browser

class: $(STAMP) ## the chapters without answers for participants, and with all of them for the instructor
	$(BIN)/python book/tools/handouts.py $(ONLY)

lab: $(STAMP)   ## open JupyterLab on the notebooks
	$(BIN)/jupyter lab notebooks

check: $(STAMP) ## the fast loop: style, types, unit tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(RUN) -m "not browser and not site and not slow"

notebooks: $(STAMP) ## make the notebooks from book/chapters and run them; ONLY="03 12" for these
	$(BIN)/python book/tools/notebooks.py $(ONLY)
	$(BIN)/python book/records/ledger.py

prose: $(STAMP) ## the same, but run only notebooks whose code has changed
	$(BIN)/python book/tools/notebooks.py --prose $(ONLY)
	$(BIN)/python book/records/ledger.py

timings: $(STAMP) ## make and run all, on a quiet machine: every time and version that the book shows
	$(BIN)/python book/tools/notebooks.py --record
	$(BIN)/python book/records/ledger.py

records: $(STAMP) ## repeat the long experiments, some hours, resumable; the whole MNIST must lie under COMPRESSLAB_DATA
	for script in train_checkpoints training_through_quantization integer_training weight_pruning penalties deep_compression slimming neuron_criteria distillation little_data search order smallest; do $(BIN)/python book/records/$$script.py || exit 1; done

bench: $(STAMP) ## run the benchmarks
	@for bench in $(BENCHES); do echo "== $$bench"; OMP_NUM_THREADS=1 $(BIN)/python $$bench || exit 1; done

clean:          ## remove what was built; .venv stays
	rm -rf _build book/_static/vendor .pytest_cache .ruff_cache .hypothesis build dist compresslab.egg-info
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
