# `make demo` and `make test` set everything up in .venv, from nothing.

PYTHON ?= python3
BIN := .venv/bin
SOURCES := setup.py pyproject.toml $(wildcard pyx/*)

.PHONY: demo digits test lint bench report peers browser sanitize clean

demo: .venv/ready
	$(BIN)/python -m demo

# A small network learns to read handwritten digits, in seconds.
digits: .venv/ready
	$(BIN)/python examples/digits.py

test: .venv/ready
	$(BIN)/python -m pytest tests -m "not browser"

# The report in headless Chromium, which has to be installed.
browser: .venv/ready
	$(BIN)/python -m pytest tests -m browser

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/cython-lint pyx
	$(BIN)/mypy

# Beside the peers that are installed; `make peers` installs them all.
bench: .venv/ready
	$(BIN)/python -m benchmarks run --short
	$(BIN)/python -m benchmarks report

report: .venv/ready
	$(BIN)/python -m benchmarks report --open

peers: .venv/peers

# The tests once more under bounds checks and the address and undefined-behaviour sanitizers.
sanitize: .venv/sanitize/ready
	cd .venv/sanitize && CONV2D_DEBUG=1 ASAN_OPTIONS=detect_leaks=0 \
	LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libubsan.so)" \
	"$(CURDIR)/$(BIN)/python" -m pytest tests -m "not browser" --capture=sys \
	--ignore tests/test_demo.py --ignore tests/test_examples.py --ignore-glob "tests/test_benchmarks_*"

clean:
	rm -rf .venv build dist *.egg-info conv2d/*.so

.venv/ready: $(SOURCES)
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --editable ".[test,demo,lint,bench]"
	touch $@

.venv/peers: .venv/ready
	$(BIN)/pip install --quiet --disable-pip-version-check --editable ".[peers]"
	touch $@

.venv/sanitize/ready: .venv/ready $(wildcard conv2d/*.py tests/*.py)
	rm -rf .venv/sanitize
	mkdir .venv/sanitize
	cp -r setup.py pyproject.toml README.md LICENSE pyx conv2d tests demo benchmarks .venv/sanitize
	rm -f .venv/sanitize/conv2d/*.so
	cd .venv/sanitize && CONV2D_DEBUG=1 "$(CURDIR)/$(BIN)/python" setup.py -q build_ext --inplace -j2
	touch $@
