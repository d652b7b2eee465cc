# Five commands; everything else is `medlib --help` and `course --help`.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
D := [0-9][0-9]

.PHONY: course env test notebooks lab links lock clean

course: env           ## set up, then run every lesson on the embedded data
	$(BIN)/course run

test: env             ## set up, then prove everything
	$(BIN)/python tests/everything.py

env: $(READY)         ## the set-up alone

notebooks: env        ## build and execute notebooks/ from lessons/
	$(BIN)/course build

lab: env              ## open the course in JupyterLab
	$(BIN)/jupyter lab notebooks

links: env            ## make links REPO=owner/name: stamp the launch links
	$(BIN)/course links $(REPO)

lock: env             ## write requirements.lock anew from pyproject.toml
	$(BIN)/uv pip compile pyproject.toml --extra cpu --extra course --extra cluster --extra dev --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-annotate --custom-compile-command "make lock" --output-file requirements.lock

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else "Python 3.11, 3.12 or 3.13 is needed, this is %d.%d: try  make PYTHON=python3.12" % v)'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --require-hashes --only-binary :all: --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $(READY)

# of runs/ only the folders of `course run`: networks trained there are their user's
clean:                ## remove what was made here: the environment, caches, pages of course runs
	rm -rf $(dir $(wildcard runs/$D$D-$D-$D_$D-$D-$D/index.html))
	rm -rf .venv data/cache build *.egg-info .pytest_cache .ruff_cache .hypothesis
