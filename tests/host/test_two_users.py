"""Two users of one host, each with campaigns, folders and lease files of their own."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from doors import HERE, TIMEOUT_S, events, fake, furnish, host

from vbench.schema.record import Record

pytestmark = pytest.mark.skipif(
    os.getuid() != 0 or not shutil.which("unshare"), reason="to act as two users takes root and util-linux"
)
ONE, TWO = 12001, 12002
GPUS = "NVIDIA H100 80GB HBM3,NVIDIA H100 80GB HBM3"
WORDS = (
    "-m", "hardware=2xh100", "engine.weights=dummy", "engine.max_num_seqs=8,9", "workload=random",
    "workload.num_prompts=2", "workload.output_len=5", fake("--itl-s", "0.02"),
)  # fmt: skip
# In a mount namespace of its own: folders that only root may enter are covered, and what is needed shines through.
ENTER = """
set -e
mkdir -p "$STAGE"; mount -t tmpfs tmpfs "$STAGE"
for needed in $NEEDED; do mkdir -p "$STAGE$needed"; mount --bind "$needed" "$STAGE$needed"; done
for closed in $CLOSED; do mount -t tmpfs -o mode=755 tmpfs "$closed"; done
for needed in $NEEDED; do mkdir -p "$needed"; mount --bind "$STAGE$needed" "$needed"; done
cd "$HOME"
exec setpriv --reuid "$USER_ID" --regid "$USER_ID" --clear-groups "$@"
"""


@pytest.fixture
def homes(tmp_path):
    """A folder for each of the two, beside the one for the leases of all."""
    tmp_path.chmod(0o1777)
    made = {user: tmp_path / f"home-{user}" for user in (ONE, TWO)}
    for user, home in made.items():
        home.mkdir()
        furnish(home)
        for path in (home, home / "mlruns", home / "mlruns" / "mlflow.db"):
            os.chown(path, user, user)
    return made


def campaign(user: int, home: Path) -> subprocess.Popen[str]:
    needed = [Path(sys.base_prefix), Path(sys.prefix), HERE.parent, home.parent]
    closed = {path: above for path in needed if (above := closed_ancestor(path))}
    own = {
        "VBENCH_LEASES": str(home.parent / "leases"), "HOME": str(home), "TMPDIR": str(home), "USER": "somebody",
        "NEEDED": " ".join(map(str, closed)), "CLOSED": " ".join(sorted({*map(str, closed.values())})),
        "STAGE": "/run/vbench-test", "USER_ID": str(user), "PYTHONDONTWRITEBYTECODE": "1",
    }  # fmt: skip
    return subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", ENTER, "sh", sys.executable, "-m", "vbench", *WORDS],
        env=host(home, GPUS) | own, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def closed_ancestor(path: Path) -> Path | None:
    """The highest folder above it that other users may not enter."""
    return next((each for each in reversed(path.parents) if not each.stat().st_mode & stat.S_IXOTH), None)


def said(command: subprocess.Popen[str]) -> str:
    return command.communicate(timeout=TIMEOUT_S)[0]


def test_campaigns_of_two_users_share_the_gpus_and_a_lease_file_that_one_closes_stops_neither_silently(homes):
    both = [campaign(user, home) for user, home in homes.items()]
    told = [said(command) for command in both]
    assert all(command.returncode in (0, 1) for command in both), told  # a busy machine may make a run INVALID
    turns = []
    for user, home in homes.items():
        paths = list(home.glob("multirun/*/*/*/record.json"))
        assert {path.stat().st_uid for path in paths} == {user}
        assert [Record.load(path.parent).failure for path in paths] == [None] * len(paths)
        assert len({path.parents[1] for path in paths}) == 2
        turns += zip(events(home, "leased"), events(home, "ended"), strict=True)
    spans = sorted((leased["t"], over["t"]) for leased, over in turns)
    assert all(first[1] <= second[0] for first, second in pairwise(spans)), "both GPUs had two users at once"
    leases = homes[ONE].parent / "leases"
    assert not [*leases.glob("*.lease"), *leases.glob("*.waiting")]

    files = {path: path.stat().st_uid for path in sorted(leases.iterdir())}
    closed = next(path for path in files if path.name.startswith("GPU"))
    closed.chmod(0)  # as its owner might
    for path in homes.values():
        shutil.rmtree(path / "multirun")
        (path / "mlruns" / "mlflow.db").unlink()
    for user, home in homes.items():
        command = campaign(user, home)
        line = said(command).strip().splitlines()[-1]
        assert command.returncode == 2, line
        assert f"{closed}: belongs to uid {files[closed]} and is closed" in line
        assert "chmod 644 it" in line
