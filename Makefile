# Each target sets itself up: a virtual environment in .venv with the versions of requirements.lock.
# Another Python than python3: `make PYTHON=python3.12 test`.

VENV := .venv
RUN := $(VENV)/bin/python
# Once .venv stands it is kept, so that PYTHON needs to be named only the first time.
PYTHON ?= $(if $(wildcard $(VENV)/locked-*),$(RUN),python3)
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
STAMP := $(VENV)/locked-$(VERSION)
PIP := $(RUN) -m pip --disable-pip-version-check
# TensorFlow's notices would hide the program's own messages.
export TF_CPP_MIN_LOG_LEVEL ?= 2

.PHONY: demo test check lint types audit soak bench torch docs .venv-docs docs-check setup lock clean

demo: $(STAMP)
	$(RUN) simulate.py demo
	$(RUN) batch_feature_extraction.py demo
	$(RUN) seld.py demo a

# Tests of one file share what they prepare, so that a process takes whole files, the longest first (tests/conftest.py).
test: $(STAMP)
	$(RUN) -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

check: lint types audit test

lint: $(STAMP)
	$(RUN) -m ruff check .

# By package, not `.`: seld.py and seld/ share a name.
types: $(STAMP)
	$(RUN) -m mypy -p common -p seld -p sed_task4 -p benchmarks

# In an environment of its own, always the newest: the tool must know what the lock does not.
audit: $(STAMP)
	@test -x .venv-audit/bin/pip-audit || $(PYTHON) -m venv .venv-audit
	@.venv-audit/bin/python -m pip --disable-pip-version-check install --quiet --upgrade pip-audit
	@$(RUN) -m tests.audit_dependencies .venv-audit/bin/pip-audit

# About 45 minutes on two cores: jobs killed 50 times each, 20,000 damaged files, and the tests that take longest.
soak: $(STAMP)
	$(RUN) -m tests.soak
	$(RUN) -m pytest -m soak

bench: $(STAMP)
	$(RUN) -m benchmarks.run

# An environment of its own with PyTorch and sed_scores_eval, which the benchmarks measure beside ours; `clean` leaves it.
# sed_scores_eval 0.0.4 writes into arrays that pandas 3 locks, and imports pkg_resources, which setuptools 81 removed.
torch: .venv-torch/bin/python

.venv-torch/bin/python:
	$(PYTHON) -m venv .venv-torch.part
	.venv-torch.part/bin/python -m pip --disable-pip-version-check install --quiet torch numpy sed_scores_eval 'pandas<3' 'setuptools<81'
	rm -rf .venv-torch && mv .venv-torch.part .venv-torch

# The pages of docs/ as HTML in build/docs; any warning is an error. Sphinx stands in an environment of its own, which sees
# the packages of .venv: it imports the sources to describe them.
docs: $(STAMP)
	@cmp -s docs/requirements.txt .venv-docs/installed || $(MAKE) --no-print-directory .venv-docs
	.venv-docs/bin/python -m sphinx --fail-on-warning --keep-going --quiet docs build/docs

# Made again when the requirements change, not when only their time stamp does, as in a new clone.
.venv-docs: $(STAMP)
	$(PYTHON) -m venv --clear .venv-docs
	.venv-docs/bin/python -m pip --disable-pip-version-check install --quiet --requirement docs/requirements.txt
	$(RUN) -c 'import site; print(*site.getsitepackages())' > .venv-docs/lib/python$(VERSION)/site-packages/project.pth
	@cp docs/requirements.txt $@/installed

# Runs the commands of README and docs/ that take too long for the tests, in a small form.
docs-check: $(STAMP)
	$(RUN) -m tests.document_runs

setup: $(STAMP)

# dcase_util and sed_eval come as sources. Without build isolation the locked setuptools builds them, whatever is new.
$(STAMP): requirements.lock
	@case "$(VERSION)" in \
	3.11|3.12|3.13) ;; \
	*) echo "Expected: Python 3.11, 3.12 or 3.13. Received: $(PYTHON) is $(or $(VERSION),not there)." \
	    "Install one of them and name it, as in: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1 ;; \
	esac
	@test -e $(STAMP) || $(PYTHON) -m venv --clear $(VENV)
	$(PIP) install --quiet --constraint requirements.lock setuptools wheel
	$(PIP) install --no-build-isolation --requirement requirements.lock
	$(PIP) check
	@touch $(STAMP)

# The only target that needs uv (https://docs.astral.sh/uv): exact versions for every Python and platform at once.
lock:
	uv pip compile --universal --python-version 3.11 --fork-strategy fewest --extra dev --extra jax --extra export --no-annotate \
	    --no-emit-index-url --custom-compile-command "make lock" --upgrade setup.cfg --output-file requirements.lock

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find common seld tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
