"""A local store that cannot take records is told before a server starts, and is left as it is."""

import pytest
from doors import fake, vbench

from vbench.schema.errors import Refused
from vbench.tracking.soundness import refuse_if_damaged

DAMAGED = b"not a database, though long enough to be one " * 40


def test_a_damaged_store_refuses_a_campaign_and_nothing_is_started_or_lost(tmp_path):
    store = tmp_path / "mlruns" / "mlflow.db"
    store.parent.mkdir()
    store.write_bytes(DAMAGED)
    ended = vbench("workload=random", "workload.num_prompts=2", fake(), cwd=tmp_path, MLFLOW_TRACKING_URI="")
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"vbench: {store}: MLflow's store is damaged (file is not a database); move it away")
    assert len(ended.stderr.splitlines()) == 1
    assert store.read_bytes() == DAMAGED
    assert not (tmp_path / "multirun").exists()


def test_a_store_that_cannot_be_written_is_refused(store, monkeypatch):
    refuse_if_damaged()
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(Refused, match=r"mlflow\.db: MLflow's store cannot be written; make it writable"):
        refuse_if_damaged()


def test_a_store_that_is_not_there_yet_or_has_no_tables_is_none(store):
    store.write_bytes(b"")
    refuse_if_damaged()
    store.unlink()
    refuse_if_damaged()
