#!/usr/bin/env bash
# submitit 1.5.4: on `cluster="local"` an array of jobs starts all at once, whatever slurm_array_parallelism says.
#
# Guess:  the local executor is a queue: two at a time where the array's parallelism is 2, or as many as there are cores.
# Seen:   every job is a process from the moment of submission. Output of 2026-11-27, Python 3.11:
#             6 jobs, slurm_array_parallelism=2: at most 6 ran at one time
# Matters: a sweep that waits its turn on a cluster measures all its points against each other on a workstation.
set -euo pipefail
tmp=$(mktemp -d); trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$tmp"' EXIT
. "$(dirname "$0")/setup"
install venv submitit==1.5.4

cat > "$tmp/sweep.py" <<'PY'
import sys, time
import submitit

def job(_):
    began = time.time()
    time.sleep(5)
    return began, time.time()

executor = submitit.AutoExecutor(sys.argv[1], cluster="local")
executor.update_parameters(timeout_min=2, slurm_array_parallelism=2)
spans = [each.result() for each in executor.map_array(job, range(6))]
most = max(sum(begins <= at < ends for begins, ends in spans) for at, _ in spans)
print(f"6 jobs, slurm_array_parallelism=2: at most {most} ran at one time")
PY
holds "$("$tmp/venv/bin/python" "$tmp/sweep.py" "$tmp/jobs")" "6 jobs, slurm_array_parallelism=2: at most 6 ran at one time"
