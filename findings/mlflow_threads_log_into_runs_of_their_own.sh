#!/usr/bin/env bash
# MLflow 3.17.2: mlflow.log_metric in a thread does not log into the run that the program has started.
#
# Guess:  there is one active run in a process; a worker thread's metrics join the others.
# Seen:   the active run belongs to a thread: each thread gets a run of its own, silently, which stays RUNNING after the
#         program has ended. Output of 2026-11-27, Python 3.11:
#             FINISHED {'of_main': 1.0}
#             RUNNING {'of_thread_0': 0.0}
#             RUNNING {'of_thread_1': 1.0}
# Matters: a sampler thread's telemetry is missing from the run, and the store fills with runs that never end.
set -euo pipefail
tmp=$(mktemp -d); trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$tmp"' EXIT
. "$(dirname "$0")/setup"
install venv mlflow-skinny==3.17.2 alembic==1.17.2 sqlalchemy==2.0.44

cat > "$tmp/log.py" <<'PY'
import sys, threading
import mlflow

with mlflow.start_run():
    mlflow.log_metric("of_main", 1)
    threads = [threading.Thread(target=mlflow.log_metric, args=(f"of_thread_{n}", n)) for n in range(2)]
    for thread in threads:
        thread.start()
        thread.join()
PY
cat > "$tmp/read.py" <<'PY'
import mlflow
print("\n".join(sorted(f"{run.info.status} {run.data.metrics}" for run in mlflow.MlflowClient().search_runs(["0"]))))
PY
export MLFLOW_TRACKING_URI="sqlite:///$tmp/mlflow.db" MLFLOW_DISABLE_TELEMETRY=true
"$tmp/venv/bin/python" "$tmp/log.py" > "$tmp/log" 2>&1 || { cat "$tmp/log"; exit 2; }
holds "$("$tmp/venv/bin/python" "$tmp/read.py" 2>/dev/null)" "FINISHED {'of_main': 1.0}
RUNNING {'of_thread_0': 0.0}
RUNNING {'of_thread_1': 1.0}"
