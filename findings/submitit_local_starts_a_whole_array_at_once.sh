#!/usr/bin/env bash
# submitit 1.5.4: on `cluster="local"` an array of jobs starts all at once, whatever slurm_array_parallelism says.
#
# Guess:  the local executor is a queue: two at a time where the array's parallelism is 2, or as many as there are cores.
# Seen:   every job is a process from the moment of submission. Output of 2026-11-27, Python 3.11:
#             6 jobs, slurm_array_parallelism=2: 6 ran before any had ended
# Matters: a sweep that waits its turn on a cluster measures all its points against each other on a workstation.
set -euo pipefail
tmp=$(mktemp -d); trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$tmp"' EXIT
. "$(dirname "$0")/setup"
install venv submitit==1.5.4

cat > "$tmp/sweep.py" <<'PY'
import pathlib, sys, time
import submitit

BEGUN = pathlib.Path(sys.argv[1]) / "begun"

def job(number):
    """How many have begun before any has ended: each waits for all six, or for 60 s."""
    (BEGUN / str(number)).touch()
    deadline = time.monotonic() + 60
    while len(list(BEGUN.iterdir())) < 6 and time.monotonic() < deadline:
        time.sleep(0.1)
    return len(list(BEGUN.iterdir()))

BEGUN.mkdir(parents=True)
executor = submitit.AutoExecutor(sys.argv[1], cluster="local")
executor.update_parameters(timeout_min=2, slurm_array_parallelism=2)
first = min(each.result() for each in executor.map_array(job, range(6)))
print(f"6 jobs, slurm_array_parallelism=2: {first} ran before any had ended")
PY
holds "$("$tmp/venv/bin/python" "$tmp/sweep.py" "$tmp/jobs")" "6 jobs, slurm_array_parallelism=2: 6 ran before any had ended"
