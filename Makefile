# PYTHON      use this interpreter as it is, instead of installing everything in .venv
# BASE_PYTHON Python to make .venv from (python3)
# COMPILED    1 to compile Detectron2's operators, by a C++ compiler
# DETECTRON2  Git repository to take Detectron2 from, URL or local checkout
# TORCH_INDEX package index to take PyTorch from, such as https://download.pytorch.org/whl/cpu
# PYTEST_ARGS more arguments for pytest
# APP_ARGS    arguments for demo/app.py, such as --port 8000

DEMO_AP := 60

ifdef PYTHON
ENVIRONMENT := check-python
else
PYTHON := .venv/bin/python
ENVIRONMENT := .venv/.installed$(if $(COMPILED),-compiled)
endif

export BASE_PYTHON COMPILED DETECTRON2 TORCH_INDEX
# Threads that wait for others soon leave the core to other programs, see docs/performance.md.
export GOMP_SPINCOUNT ?= 1000
export PYTHONPATH := $(CURDIR)$(if $(PYTHONPATH),:$(PYTHONPATH))

.PHONY: help
help:  ## List the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-9s %s\n", $$1, $$2 }' Makefile

.PHONY: setup
setup: $(ENVIRONMENT)  ## Install the project with all that it needs in .venv.

.venv/.installed .venv/.installed-compiled: setup.py constraints.txt dev/install.sh \
		tood_d2/programs/install_detectron2.py
	dev/install.sh .venv
	@touch $@

.PHONY: check-python
check-python:
	@reason=$$($(PYTHON) -c 'import torch, torchvision, detectron2' 2>&1) || { \
		echo "$(PYTHON) has no working torch, torchvision and detectron2" \
			"($$(echo "$$reason" | tail -n 1)): install them there, or leave out PYTHON." >&2; \
		exit 1; \
	}

.PHONY: demo
demo: $(ENVIRONMENT)  ## Train a small model on a small data set, report its AP, draw detections.
	$(PYTHON) tools/make_shapes.py output/shapes
	$(PYTHON) train_net.py --config-file configs/tood_R_18_FPN_tiny.py \
		dataset.train_json=output/shapes/train.json dataset.train_images=output/shapes/train \
		dataset.test_json=output/shapes/val.json dataset.test_images=output/shapes/val \
		train.seed=0 train.output_dir=output/demo
	@rm -rf output/demo/pictures
	$(PYTHON) demo/demo.py --config-file output/demo/config.yaml --input output/shapes/val \
		--output output/demo/pictures --opts train.init_checkpoint=output/demo/model_final.pth
	$(PYTHON) dev/report_runs.py output/demo --at-least $(DEMO_AP)
	@echo "The pictures are in output/demo/pictures."

.PHONY: app
app: $(ENVIRONMENT)  ## Try models on images in a browser: those in output, first make demo's.
	$(PYTHON) demo/app.py $(APP_ARGS)

.PHONY: test
test: $(ENVIRONMENT)  ## Run the tests (of the page only with Chromium), then the linter.
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest -q -rs -n 2 --dist loadfile $(PYTEST_ARGS)
	@$(MAKE) --no-print-directory lint

.PHONY: test-app
test-app: $(ENVIRONMENT)  ## Run only the tests of the page.
	$(PYTHON) -m pytest -q -rs tests/demo/test_app.py tests/demo/test_app_in_browser.py

.PHONY: test-gpu
test-gpu: $(ENVIRONMENT)  ## Run the tests that need a GPU and measure on it, within 8 minutes.
	$(PYTHON) dev/report_gpu.py output/gpu

.PHONY: docs
docs: $(ENVIRONMENT)  ## Make the site of the documents, which needs no network to read.
	$(PYTHON) -m sphinx --fresh-env --fail-on-warning --keep-going --quiet \
		-c docs -d output/site-cache . output/site
	@echo "The site is in output/site, its first page is index.html."

.PHONY: lint
lint: $(ENVIRONMENT)  ## Check the code's style.
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

.PHONY: clean
clean:  ## Remove caches and the demo's files, but neither .venv nor other output.
	rm -rf build dist *.egg-info .hypothesis .pytest_cache .ruff_cache output/demo output/shapes
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
