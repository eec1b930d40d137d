# One environment for everything: make demo, make test.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# The CPU build of PyTorch; plain "torch" would bring gigabytes of CUDA.
TORCH ?= torch==2.13.0

.PHONY: install demo test quick lint bench clean

install: $(VENV)/.installed

$(VENV)/.installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet $(TORCH)
	$(BIN)/python -m pip install --quiet -e .[test,dev,build]
	touch $@

demo: install
	$(BIN)/face3d demo --output demo

test: install tools/node_modules
	$(BIN)/python -m pytest -n 2 --dist worksteal

quick: install
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

# The Khronos glTF validator; its tests are skipped, by name, where npm is missing.
tools/node_modules: tools/package.json
	npm install --silent --no-audit --no-fund --prefix tools || echo "npm is missing: no glTF validation"

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pyright

bench: install
	$(BIN)/python benchmarks/model.py
	$(BIN)/python benchmarks/reconstruct.py
	$(BIN)/python benchmarks/surface.py
	$(BIN)/python benchmarks/likeness.py
	$(BIN)/python benchmarks/render.py

clean:
	rm -rf $(VENV) demo build
