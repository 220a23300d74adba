#!/usr/bin/env bash
# submitit 1.5.4: an sbatch flag that is False or None is not left out but written as --exclusive=False and --nice=None.
#
# Guess:  True writes the bare flag, so False and None write none, as for submitit's own parameters that are None.
# Seen:   only True is special. Output of 2026-11-27, Python 3.11:
#             #SBATCH --exclusive=False
#             #SBATCH --nice=None
#             #SBATCH --requeue
# Matters: a config that switches exclusive off for one partition asks for it in another way, or is refused by sbatch.
set -euo pipefail
tmp=$(mktemp -d); trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$tmp"' EXIT
. "$(dirname "$0")/setup"
install venv submitit==1.5.4
mkdir "$tmp/bin"; printf '#!/bin/sh\n' > "$tmp/bin/srun"; chmod +x "$tmp/bin/srun"  # submitit asks for one; nothing is submitted

seen=$(PATH="$tmp/bin:$PATH" "$tmp/venv/bin/python" - "$tmp" <<'PY'
import sys
from submitit.slurm.slurm import SlurmExecutor

executor = SlurmExecutor(sys.argv[1])
executor.update_parameters(partition=None, additional_parameters={"exclusive": False, "nice": None, "requeue": True})
text = executor._make_submission_file_text("true", "uid")
print("\n".join(line for line in text.splitlines() if any(f"--{key}" in line for key in ("exclusive", "nice", "requeue", "partition"))))
PY
)
holds "$seen" "#SBATCH --exclusive=False
#SBATCH --nice=None
#SBATCH --requeue"
