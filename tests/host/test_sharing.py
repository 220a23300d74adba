"""Two campaigns on one host, each of a user who has not asked the other."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

from doors import HERE, TIMEOUT_S, driver, events, fake, host, until

from vbench.schema.record import Record

GPUS = "NVIDIA H100 80GB HBM3,NVIDIA H100 80GB HBM3"
SESSIONS = 3  # of a campaign, each on both GPUs: one more than it has in flight
WORDS = (
    "-m", "hardware=2xh100", f"engine.max_num_seqs={','.join(map(str, range(1, SESSIONS + 1)))}", "workload=none",
    fake(),
)  # fmt: skip


@contextmanager
def both_gpus(leases: Path):
    """Leased by somebody else, until the block ends."""
    command = [sys.executable, str(HERE / "gpu_job.py"), "2"]
    env = host(leases.parent, GPUS) | {"USES": str(leases.parent / "uses")}
    with subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as job:
        assert job.stdout
        while not job.stdout.readline().startswith("leased"):
            assert job.poll() is None
        yield
        job.communicate("")


def turns(home: Path) -> list[tuple[float, float]]:
    """From when to when each session of a campaign had both GPUs."""
    found = []
    for path in home.glob("multirun/*/*/events.jsonl"):
        told = {event["event"]: event for event in map(json.loads, path.read_text().splitlines())}
        assert sorted(told["leased"]["gpus"]) == ["GPU-fake-0", "GPU-fake-1"]
        found.append((told["leased"]["t"], told["recorded"]["t"]))
    return sorted(found)


def test_two_campaigns_at_once_share_the_gpus_of_a_host_and_neither_waits_for_all_of_the_other(tmp_path):
    homes = [tmp_path / "one", tmp_path / "two"]
    for home in homes:
        home.mkdir()
    leases = tmp_path / "leases"
    with both_gpus(leases):
        campaigns = [driver(*WORDS, cwd=home, gpus=GPUS, VBENCH_LEASES=str(leases)) for home in homes]
        until(lambda: all(events(home, "waiting") for home in homes))
    said = [campaign.communicate(timeout=TIMEOUT_S)[0] for campaign in campaigns]
    assert [campaign.returncode for campaign in campaigns] == [0, 0], said
    for home in homes:
        records = [Record.load(path.parent) for path in home.glob("multirun/*/*/*/record.json")]
        assert [record.verdict for record in records] == ["VALID"] * SESSIONS
    one, two = map(turns, homes)
    assert all(ends <= begins for (_, ends), (begins, _) in pairwise(sorted(one + two)))
    assert one[0] < two[-1]
    assert two[0] < one[-1]
