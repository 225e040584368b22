# make run    one year of both markets on the sandbox, then the recommendations
# make dev    the Dagster UI on the same data
# make test   the whole test suite
# ARGS passes options on, e.g. make run ARGS="--market us --from 2026-01-02"

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

.PHONY: run dev test test-browser test-kafka test-monitoring lint bench lock clean

run: $(VENV)/.run
	@$(BIN)/quant setup >/dev/null
	@$(BIN)/quant run $(ARGS)

dev: $(VENV)/.run
	@$(BIN)/quant setup >/dev/null
	@$(BIN)/quant dev $(ARGS)

test: $(VENV)/.test
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder -m "not browser and not kafka and not monitoring" $(ARGS)

# Needs chromium and chromium-driver (Debian packages).
test-browser: $(VENV)/.test
	$(BIN)/python -m pytest -m browser $(ARGS)

# Needs Java 17 or later and Maven (Debian packages): a real Apache Kafka, kept in .venv/kafka.
test-kafka: $(VENV)/.test $(VENV)/.kafka
	$(BIN)/python -m pytest -m kafka $(ARGS)

# Needs prometheus (Debian package).
test-monitoring: $(VENV)/.test
	$(BIN)/python -m pytest -m monitoring $(ARGS)

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.test
	$(BIN)/python -m benchmarks $(ARGS)

# Pins every dependency with its hashes; no index address is written.
lock: $(VENV)/.test
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-emit-find-links --no-strip-extras --no-header --quiet -o requirements.lock
	$(BIN)/uv pip compile pyproject.toml --group dev --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-emit-find-links --no-strip-extras --no-header --quiet \
		-c requirements.lock -o requirements-dev.lock

clean:
	rm -rf $(VENV) .quant

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "quant_assets needs Python 3.11 or later; name one: make run PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.run: $(VENV)/.created requirements.lock pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

$(VENV)/.test: $(VENV)/.run requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements-dev.lock
	@touch $@

$(VENV)/.kafka: quant_assets_tests/kafka/pom.xml | $(VENV)/.test
	rm -rf $(VENV)/kafka
	mvn --quiet --batch-mode --strict-checksums --file $< dependency:copy-dependencies \
		-DoutputDirectory=$(CURDIR)/$(VENV)/kafka
	@touch $@
