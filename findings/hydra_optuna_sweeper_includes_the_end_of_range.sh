#!/usr/bin/env bash
# hydra-optuna-sweeper 1.2.0 (hydra-core 1.3.8): `x=range(1,4)` also tries 4, unless its sampler is the grid.
#
# Guess:  range means what it means to `-m x=range(1,4)` without the sweeper, and to Python: 1, 2, 3.
# Seen:   the sweeper makes a distribution of it that includes its end; for its grid sampler alone it is a list. Output of
#         2026-11-27, Python 3.11:
#             x=range(1,4): basic 1 2 3, optuna's grid 1 2 3, optuna's tpe 1 2 3 4
# Matters: one line of a sweep covers another space once the sweeper changes: with range(1,8) over tensor_parallel_size a
#         trial asks for the eighth GPU.
set -euo pipefail
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
. "$(dirname "$0")/setup"
install venv hydra-core==1.3.8 hydra-optuna-sweeper==1.2.0

cat > "$tmp/app.py" <<'PY'
import hydra

@hydra.main(version_base=None, config_path=None)
def main(cfg):
    print("tried", cfg.x)
    return float(cfg.x)

main()
PY
tried() {
  "$tmp/venv/bin/python" "$tmp/app.py" -m "+x=range(1,4)" hydra.sweep.dir="$tmp/out" "$@" 2>/dev/null |
    sed -n 's/^tried //p' | sort -nu | xargs
}
optuna() { tried hydra/sweeper=optuna "hydra/sweeper/sampler=$1" hydra.sweeper.n_trials=20 "${@:2}"; }
seen="x=range(1,4): basic $(tried), optuna's grid $(optuna grid), optuna's tpe $(optuna tpe hydra.sweeper.sampler.seed=1)"
holds "$seen" "x=range(1,4): basic 1 2 3, optuna's grid 1 2 3, optuna's tpe 1 2 3 4"
