"""The records that only the store has: each by itself."""

from pathlib import Path

import pytest
import records
from builders import run_config

from vbench import tracking
from vbench.campaign.results import Results, look_up_store
from vbench.plan.rules import check_run
from vbench.plan.sessions import plan
from vbench.schema.record import RECORD

pytestmark = pytest.mark.slow  # MLflow's own


@pytest.fixture
def stored(tmp_path, monkeypatch):
    """The results of a session whose three records only the store has, and its copies of their files."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    records.empty_store(tmp_path)
    loads = [check_run(run_config(workload={"num_prompts": number}, experiment="grid")) for number in (2, 3, 4)]
    (session,) = plan((load, "vllm 1") for load in loads)
    for run in session.runs:
        made = records.record(run_key=run.key, num_prompts=run.config.workload.num_prompts)
        tracking.file(records.saved(made, tmp_path / "elsewhere"))
    return Results(session, tmp_path / "multirun"), sorted(Path("mlruns").rglob(RECORD))


@pytest.mark.parametrize("spoil", [lambda path: path.write_text("{"), Path.unlink], ids=["cut", "gone"])
def test_a_record_in_the_store_that_cannot_be_read_is_named_and_the_others_are_found(stored, spoil):
    results, copies = stored
    spoil(copies[1])
    assert len(look_up_store([results])) == 3
    assert len(results.in_store) == 2
    (line,) = results.describe_unreadable()
    assert line.endswith("; ignored")
    assert len(line.splitlines()) == 1
    (missing,) = [run for run, record in results.pair_with_records() if record is None]
    assert missing.key not in results.in_store
