# Every target first makes sure that .venv exists and matches pyproject.toml and constraints.txt.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
LESS   := $(VENV)/.learning

# `make book TORCH=cpu` takes the build without CUDA, from PyTorch's own index: on Linux it is gigabytes smaller.
# That index is asked for nothing else: of what torch needs it has not every pinned version.
TORCH ?=
$(if $(filter-out cpu,$(TORCH)),$(error TORCH is cpu, or not given; found '$(TORCH)'))
MORE   := $(if $(TORCH),TORCH=$(TORCH))
NOCPU  := PyTorch did not give its build without CUDA: is download.pytorch.org reached from here? Try again, or leave out TORCH=cpu.

# Said before anything is made; written so that even an old Python understands it.
WRONG := import platform, sys; v, here = sys.version_info[:2], (platform.system(), platform.machine()); sys.exit( \
    "Python 3.11 to 3.13 is needed, and $(PYTHON) is %d.%d. Give another one: make PYTHON=python3.12 $(strip $(MAKECMDGOALS) $(MORE))" % v if v < (3, 11) \
    else "On %s %s some packages have no wheels. README.md says what to do, under Which machines." % here \
    if here == ("Darwin", "x86_64") or here[0] == "Linux" and here[1] != "x86_64" else None)

# What pages show of cells and records: tables, quoted figures, drawings.
TABLES := for table in records/ledger records/guide records/quoted records/overview tools/intervals; do $(BIN)/python book/$$table.py || exit 1; done

BENCHES   := $(sort $(wildcard tests/bench/bench_*.py))

# Two workers with one thread each use two cores without quarrelling over them.
WORKERS ?= 2
RUN     := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadscope

.PHONY: help learn book test proof class grading workshop lab check notebooks prose timings records bench clean
.PHONY: pdf zip wheel links mnist slow
.DEFAULT_GOAL := help

help:           ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 12

define environment
	@{ $(BIN)/python -c 'import pip' && $(BIN)/python -c '$(WRONG)'; } 2>/dev/null || { $(PYTHON) -c '$(WRONG)' \
	&& { [ ! -e $(VENV) ] || echo "$(VENV) is not whole, or its Python is too old: it is made anew."; } \
	&& rm -rf $(VENV) && $(PYTHON) -m venv $(VENV); }
	$(if $(TORCH),$(BIN)/python -m pip install --no-deps -c constraints.txt torch torchvision --index-url https://download.pytorch.org/whl/cpu \
	|| { echo "$(NOCPU)" >&2; exit 1; })
endef

$(STAMP): pyproject.toml constraints.txt
	$(environment)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[book,lab,deploy,test,dev]'
	touch $@

# A learner needs less: no Sphinx, no browser, no tests. Where all of it stands, nothing is installed again.
$(LESS): pyproject.toml constraints.txt
	$(environment)
	$(BIN)/python -m pip install -c constraints.txt -e '.[learn]'
	touch $@

learn: $(if $(wildcard $(STAMP)),$(STAMP),$(LESS)) ## install what a learner needs, and open the exercises in JupyterLab
	$(BIN)/python book/tools/handouts.py --learner
	$(BIN)/jupyter lab learning

book: $(STAMP)  ## build the site
	$(BIN)/python book/tools/vendor.py
	OMP_NUM_THREADS=1 $(BIN)/python book/tools/exports.py
	rm -rf _build/html
	$(BIN)/jupyter-book build . --toc book/_toc.yml --all -W -n --keep-going
	@echo "The book: _build/html/index.html"

test: $(STAMP)  ## run every test, then every notebook alone, and compare its stored outputs
	$(RUN)
	OMP_NUM_THREADS=1 $(BIN)/python book/tools/alone.py -n $(WORKERS) --dist loadscope

pdf: $(STAMP)   ## print the built pages as one PDF, and link it from them
	$(BIN)/python book/tools/pdf.py

zip: $(STAMP)   ## pack the built pages for a room without network, and link the file from them
	$(BIN)/python book/tools/parcel.py

wheel: $(STAMP) ## build the package's wheel, look inside, and run the tour with it alone; ALL=1 for every chapter
	$(BIN)/python book/tools/wheels.py $(if $(ALL),--all)

links: $(STAMP) ## ask every address that the pages name whether it answers; needs the network
	$(BIN)/jupyter-book build . --toc book/_toc.yml --all --builder linkcheck

mnist: $(STAMP) ## fetch the whole MNIST into the folder that COMPRESSLAB_DATA names
	$(BIN)/python -c 'from compresslab import data; data.mnist(download=True)'

slow: $(STAMP)  ## the tests that need minutes, those that `make test` skips too, or the whole MNIST
	LONG=1 $(RUN) -m slow

proof: $(STAMP) ## open every page of the built site in every way that readers do
	PROOF=1 $(RUN) -m browser

class: $(STAMP) ## the chapters without answers for participants, and with all of them for the instructor
	$(BIN)/python book/tools/handouts.py $(ONLY)

grading: $(STAMP) ## the exercises as a course of nbgrader's, with points
	$(BIN)/python book/tools/grading.py $(ONLY)

workshop: $(STAMP) ## the kit of a workshop, zipped; ONLY="02 03" for these, WHEELS=1 for a room without network
	$(BIN)/python book/tools/vendor.py
	$(BIN)/python book/tools/workshop.py $(if $(WHEELS),--wheels) $(if $(TORCH),--torch $(TORCH)) $(ONLY)

lab: $(STAMP)   ## open JupyterLab on the notebooks
	$(BIN)/jupyter lab notebooks

check: $(STAMP) ## the fast loop: style, types, unit tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(RUN) -m "not browser and not site and not slow"

notebooks: $(STAMP) ## make the notebooks from book/chapters and run them; ONLY="03 12" for these
	$(BIN)/python book/tools/minutes.py --write
	$(BIN)/python book/tools/routes.py
	$(BIN)/python book/tools/notebooks.py $(ONLY)
	$(TABLES)

prose: $(STAMP) ## the same, but run only notebooks whose code has changed
	$(BIN)/python book/tools/minutes.py --write
	$(BIN)/python book/tools/routes.py
	$(BIN)/python book/tools/notebooks.py --prose $(ONLY)
	$(TABLES)

timings: $(STAMP) ## make and run all, on a quiet machine: every time and version that the book shows
	$(BIN)/python book/tools/notebooks.py --record
	$(TABLES)

records: $(STAMP) ## repeat the long experiments, some 13 hours, resumable; the whole MNIST must lie under COMPRESSLAB_DATA
	OMP_NUM_THREADS=1 $(BIN)/python book/records/repeat.py $(ONLY)

bench: $(STAMP) ## run the benchmarks
	@for bench in $(BENCHES); do echo "== $$bench"; OMP_NUM_THREADS=1 $(BIN)/python $$bench || exit 1; done

clean:          ## remove what was built; .venv stays
	rm -rf _build book/_static/vendor book/_static/networks .pytest_cache .ruff_cache .hypothesis build dist compresslab.egg-info
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
