PYTHON ?= python3
VENV ?= .venv
RUN = $(VENV)/bin
CLIP ?= $(firstword $(wildcard examples/*.mp4))

.PHONY: demo dev test check gallery docs wheel clean

$(RUN)/eve: pyproject.toml constraints.txt
	test -x $(RUN)/python || $(PYTHON) -m venv $(VENV)
	$(RUN)/pip install -q -c constraints.txt .
	touch $@

demo: $(RUN)/eve
	$(RUN)/eve edit $(CLIP) "make it snowy" --seed 7 --output demo.mp4 --overwrite
	@echo "The result is $(CURDIR)/demo.mp4"

dev: $(RUN)/eve
	$(RUN)/pip install -q -c constraints.txt -e ".[dev]"

test:
	$(PYTHON) -m pytest

check:
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m pyright
	lint-imports --no-cache

gallery:
	$(PYTHON) -m examples.gallery

docs:
	$(PYTHON) -m docs.generate

wheel:
	$(PYTHON) -m build --wheel

clean:
	rm -rf build dist $(VENV)
