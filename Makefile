# On a fresh machine: `make demo` edits a clip, `make test` runs the tests. Both make .venv with the pinned versions first.
PYTHON ?= python3
VENV ?= .venv
RUN = $(VENV)/bin
CLIP ?= examples/car.mp4

.PHONY: demo test test-slow check docs docs-serve gallery wheel clean

$(RUN)/eve: pyproject.toml constraints.txt
	test -x $(RUN)/python || $(PYTHON) -m venv $(VENV)
	$(RUN)/pip install -q -c constraints.txt .
	touch $@

$(VENV)/.dev: pyproject.toml constraints.txt
	test -x $(RUN)/python || $(PYTHON) -m venv $(VENV)
	$(RUN)/pip install -q -c constraints.txt -e ".[dev]"
	touch $@ $(RUN)/eve

$(VENV)/.docs: $(VENV)/.dev
	$(RUN)/pip install -q -c constraints.txt -e ".[docs]"
	touch $@

demo: $(RUN)/eve
	$(RUN)/eve edit $(CLIP) "make it snowy" --seed 7 --output demo.mp4 --overwrite
	@echo "The result is $(CURDIR)/demo.mp4"

test: $(VENV)/.dev
	$(RUN)/python -m pytest -n auto --dist loadfile -m "not slow"

test-slow: $(VENV)/.dev
	$(RUN)/python -m pytest -n auto --dist load -m slow

check: $(VENV)/.dev
	$(RUN)/python -m ruff check .
	$(RUN)/python -m ruff format --check .
	$(RUN)/python -m pyright --pythonpath $(RUN)/python
	$(RUN)/lint-imports --no-cache

# Writes the generated pages, then builds the site into build/site; neither needs a network once the extra is installed.
docs: $(VENV)/.docs
	$(RUN)/python -m docs.generate
	$(RUN)/python -m mkdocs build --strict

docs-serve: $(VENV)/.docs
	$(RUN)/python -m docs.generate
	$(RUN)/python -m mkdocs serve --dev-addr 127.0.0.1:8000

# Without this, mkdocs-material prints a notice about its own future at each start.
export NO_MKDOCS_2_WARNING = 1

gallery: $(VENV)/.dev
	$(RUN)/python examples/gallery.py

wheel: $(VENV)/.dev
	$(RUN)/python -m build --wheel

clean:
	rm -rf build dist $(VENV)
