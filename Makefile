# The tasks that people, hooks and CI run; `make` lists them.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
REPLICAS ?= 2

.DEFAULT_GOAL := help
.PHONY: help setup local demo up scale down backup restore check-images config check-data train score retention erase test test-fast e2e bench measure-drift measure-gate measure-feedback measure-intervals measure-training measure-estimators measure-retrain measure-quality measure-rollback measure-estimate measure-log measure-scoring measure-kills measure-real-rollbacks dashboards check format clean-state

help: ## list the tasks
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# A PYTHON other than the one of .venv creates it again.
WHICH := import sys; print(sys.version_info[:2], sys.base_prefix)
ifneq ($(origin PYTHON),file)
ifneq ($(shell $(PYTHON) -c '$(WHICH)' 2>&1),$(shell $(BIN)/python -c '$(WHICH)' 2>&1))
.PHONY: $(READY)
endif
endif

$(READY): pyproject.toml uv.lock src/services/local/bootstrap.py
	@$(PYTHON) src/services/local/bootstrap.py
	@touch $@

setup: $(READY) ## create .venv from the lock file
	@echo "ready. Next: make local runs the loop on this machine; make config CSV=… TARGET=… configures your own data"

local: $(READY) ## run the whole loop as processes on this machine; Ctrl-C stops it
	@$(BIN)/python -m src.services.local.run_local

demo: export override OUT := $(or $(value OUT),demo.svg)
demo: $(READY) ## watch the loop learn a changed world, on services of its own, in under 5 minutes (OUT=demo.svg)
	@$(BIN)/python -m src.services.local.demo.run_demo --out "$$OUT"

# The last lines of each service that keeps `docker compose up --wait` from ending well.
FAILURES := docker compose ps --all --format '{{.Service}} {{.State}} {{.Health}}' \
    | awk '$$2 == "restarting" || $$3 == "unhealthy" { print $$1 }' | sort -u \
    | while read -r service; do docker compose logs --tail 10 "$$service"; done

up: ## build what has changed and run the whole loop as containers; returns once it serves
	@$(PYTHON) setup_zenml_api_key.py --keep-key
	docker compose up -d --build --remove-orphans || { docker compose logs --tail 5 preprocess; $(FAILURES); exit 1; }
	@test "$$(docker compose ps --all --format '{{.ExitCode}}' train-model)" = 0 || { \
	    docker compose logs --tail 20 train-model; echo "error: the training failed; its last lines are above" >&2; exit 1; }
	docker compose up -d --wait || { $(FAILURES); exit 1; }
	@echo "ready: http://$$(docker compose port gateway 8000 2>/dev/null || docker compose port inference 8000)/" | sed 's|//0\.0\.0\.0:|//localhost:|'
	@! port=$$(docker compose port tls-proxy 8443 2>/dev/null) || echo "with TLS and sign-in: https://$$port/"

MAX_REPLICAS := $(shell awk '$$1 == "server-template" && /check slowstart/ { print $$3 }' config/gateway/haproxy.cfg)

scale: ## run inference REPLICAS times (2) behind one port; `make up` goes back to one
	@[ "$(REPLICAS)" -ge 1 ] 2>/dev/null && [ "$(REPLICAS)" -le $(MAX_REPLICAS) ] || { \
	    echo "error: REPLICAS must be a whole number from 1 to $(MAX_REPLICAS)" >&2; exit 2; }
	docker compose -f docker-compose.yml -f docker-compose.scale.yml \
	    $$(docker compose config --services | grep -qx tls-proxy && echo -f docker-compose.tls.yml) up -d --wait --remove-orphans --scale inference=$(REPLICAS)

check-images: ## ask the registries whether every pinned image exists, and for which architectures
	@$(PYTHON) -m src.services.stack.check_images

down: ## stop the containers; their volumes stay
	docker compose down --remove-orphans

backup: ## write everything that the stack remembers to backups/ (SECRETS=1: .env too, encrypted with BACKUP_PASSPHRASE)
	@$(PYTHON) -m src.services.stack.backup $(if $(filter-out 0,$(SECRETS)),--secrets)

restore: export override FILE := $(value FILE)
restore: ## start the stack of a backup on a machine that has none yet: FILE=backups/….tar (SECRETS=1: with its .env)
	@$(PYTHON) -m src.services.stack.restore $(if $(filter-out 0,$(SECRETS)),--secrets) -- "$$FILE"
	@$(MAKE) --no-print-directory up

# Values go through the environment unchanged: a column may have any name.
config: export override CSV := $(value CSV)
config: export override TARGET := $(value TARGET)
config: export override ID := $(value ID)
config: export override TIME := $(value TIME)
config: $(READY) ## write config/pipeline.yaml for your table: CSV=data-file/incoming/churn.csv TARGET='Churn?' (ID=, TIME=, OUT=, FORCE=1)
	@$(BIN)/python -m src.services.local.make_config --csv "$$CSV" --target "$$TARGET" --id "$$ID" --time "$$TIME" \
	    --out "$(OUT)" --force "$(FORCE)"

check-data: $(READY) ## check the configured data set in seconds, with a table of its columns; writes nothing
	@$(BIN)/python -m src.services.local.check_data

train: $(READY) ## train once against the MLflow server of MLFLOW_TRACKING_URI
	@$(BIN)/python run_pipeline.py

score: export override IN := $(value IN)
score: export override OUT := $(value OUT)
score: $(READY) ## predict every row of files with the champion: IN=folder-or-file OUT=folder (SCORE_ARGS=--help)
	@$(BIN)/python run_batch.py $(SCORE_ARGS) -- "$$IN" "$$OUT"

retention: $(READY) ## list old versions, runs and requests that are no longer kept (APPLY=1 deletes them)
	@$(BIN)/python -m src.training.retention $(if $(APPLY),--apply)

erase: export override ID := $(value ID)
erase: $(READY) ## delete all that is kept about an id, of a request, a row or your own: ID=… (in the running stack, else here)
	@if [ "$$(docker compose ps --status running --services quality 2>/dev/null)" = quality ]; then \
	    docker compose exec -T quality python -m src.services.quality.erase "$$ID"; \
	else $(BIN)/python -m src.services.quality.erase "$$ID"; fi

# Each file of tests on one of a few processes; of those that start servers themselves, on one of two.
PARALLEL := -n logical --maxprocesses 4 --dist loadfile
IN_PAIRS := -n 2 --dist loadfile

test: check ## run every check and every test that needs no Docker Engine
	$(BIN)/pytest $(PARALLEL) tests/unit
	$(BIN)/pytest $(IN_PAIRS) --ignore=tests/unit

test-fast: $(READY) ## run the unit tests that start no server, in about a minute
	$(BIN)/pytest $(PARALLEL) tests/unit --ignore=tests/unit/benchmarks -m "not slow and not docker"

e2e: $(READY) ## run the tests of the Compose stack, on this machine's Docker Engine
	@tests/e2e/images/build.sh
	$(BIN)/pytest -m docker

bench: $(READY) ## measure this service beside its peers on an idle machine (BENCH_ARGS=--help lists what can be chosen)
	@$(BIN)/python -m benchmarks.run_bench $(BENCH_ARGS)

measure-drift: $(READY) ## simulate how often drift is reported without drift, and found with one (DRIFT_ARGS=--help)
	@$(BIN)/python -m benchmarks.drift.run_drift $(DRIFT_ARGS)

measure-gate: $(READY) ## measure how often the gate is wrong, in about ten minutes (GATE_ARGS=--help lists what can be chosen)
	@$(BIN)/python -m benchmarks.gate.measure_gate $(GATE_ARGS)

measure-feedback: $(READY) ## measure how often the gate is wrong where labelled live rows decide, in about ten minutes (FEEDBACK_ARGS=--help)
	@$(BIN)/python -m benchmarks.gate.measure_feedback $(FEEDBACK_ARGS)

measure-intervals: $(READY) ## simulate how often the gate's intervals cover the true difference (INTERVALS_ARGS=--help)
	@$(BIN)/python -m benchmarks.intervals $(INTERVALS_ARGS)

measure-training: $(READY) ## train on 200,000 rows and report time and memory (TRAINING_ARGS=--help)
	@$(BIN)/python -m benchmarks.measure_training $(TRAINING_ARGS)

measure-estimators: $(READY) ## train and serve every estimator, compared with scikit-learn, in 10 to 25 minutes (ESTIMATORS_ARGS=--help)
	@$(BIN)/python -m benchmarks.measure_estimators $(ESTIMATORS_ARGS)

measure-retrain: $(READY) ## measure the time from a retrain request to the new version (RETRAIN_ARGS=--help)
	@$(BIN)/python -m benchmarks.measure_retrain $(RETRAIN_ARGS)

measure-rollback: $(READY) ## simulate how often the rollback's test is wrong, and how soon it is right (ROLLBACK_ARGS=--help)
	@$(BIN)/python -m benchmarks.rollback $(ROLLBACK_ARGS)

measure-estimate: $(READY) ## simulate how well the quality is estimated without labels (ESTIMATE_ARGS=--help)
	@$(BIN)/python -m benchmarks.estimate $(ESTIMATE_ARGS)

measure-quality: $(READY) ## measure a report of live quality over 10 million logged rows (QUALITY_ARGS=--help)
	@$(BIN)/python -m benchmarks.measure_quality $(QUALITY_ARGS)

measure-log: $(READY) ## measure what the prediction log and the shadow cost `/predict`, on an idle machine (LOG_ARGS=--help)
	@$(BIN)/python -m benchmarks.measure_log $(LOG_ARGS)

measure-scoring: $(READY) ## score 20 million rows on a scheduler and two workers, with and without kills (SCORING_ARGS=--help)
	@$(BIN)/python -m benchmarks.measure_scoring $(SCORING_ARGS)

measure-kills: $(READY) ## kill inference and quality at random under load, and check what is lost, in about three minutes (KILLS_ARGS=--help)
	@$(BIN)/python -m benchmarks.kills $(KILLS_ARGS)

measure-real-rollbacks: $(READY) ## promote worse and equal versions on real services: which are rolled back, in about twelve minutes (ROLLBACKS_ARGS=--help)
	@$(BIN)/python -m benchmarks.real_rollbacks $(ROLLBACKS_ARGS)

dashboards: $(READY) ## write Grafana's dashboards again, after a change of dashboards/ or config/alerts.yml
	@$(BIN)/python -m dashboards.write_dashboards

check: $(READY) ## lint, format, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(READY) ## fix lint and format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean-state: $(READY) ## delete everything the loop has written under DATA_DIR (stop the loop first)
	@$(BIN)/python -m src.services.local.clean_state
