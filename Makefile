# Two commands do everything on a fresh machine with Python and make: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.ready
# what Qt, OpenGL and the virtual screen need on Debian
SYSTEM := libegl1 libgl1 libopengl0 libgl1-mesa-dri libglu1-mesa libxcb-cursor0 libxkbcommon-x11-0 libgomp1 \
	libdbus-1-3 libfontconfig1 libxcb-icccm4 libxcb-keysyms1 libxcb-shape0 libusb-1.0-0 fonts-dejavu-core xvfb xauth
export QT_API := pyside6

.PHONY: setup system demo test bench proof soak gpu lint clean

setup: system $(STAMP)

system:
	@sh .ci/system-packages $(SYSTEM)

$(STAMP): pyproject.toml constraints.txt setup.py
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[test]' --constraint constraints.txt
	@touch $(STAMP)

demo: setup
	@sh .ci/with-display $(BIN)/opsin demo --output demo-output

test: setup lint
	@sh .ci/run-tests $(BIN)/python

bench: setup
	@sh .ci/with-virtual-display $(BIN)/python -m tests.benchmarks bench

proof: setup
	$(BIN)/python -m tests.benchmarks proof

soak: setup
	QT_QPA_PLATFORM=offscreen $(BIN)/python -m pytest -p no:napari -m soak --timeout 3600 tests

gpu: setup
	QT_QPA_PLATFORM=offscreen $(BIN)/python -m pytest -p no:napari -m gpu --timeout 900 tests
	$(BIN)/python -m tests.benchmarks gpu

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@mkdir -p .venv/typing && ln -sfn ../.. .venv/typing/opsin
	MYPYPATH=.venv/typing $(BIN)/mypy -p opsin.engine -p opsin.widgets -p opsin.gui
	$(BIN)/lint-imports

clean:
	rm -rf .venv build *.egg-info demo-output
