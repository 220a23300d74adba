"""What an earlier version recorded with its secrets is filed without them, and stays as it is on disk."""

import json

import numpy as np
import pytest
import records

from vbench import tracking
from vbench.ingest import main
from vbench.schema.record import Record

TOKEN = "planted-by-an-early-build-7"
FORMS = [TOKEN.encode(code) for code in ("utf-8", "utf-32-le")]  # NumPy keeps text in four bytes a character


@pytest.fixture
def early(tmp_path):
    """The folder of a run whose record, requests and log hold the token."""
    folder = records.saved(records.record(), tmp_path / "out")
    facts = json.loads((folder / "record.json").read_text())
    facts["name"] = f"llama8b --api-key {TOKEN}"
    facts["config"]["engine"]["extra_args"] = ["--api-key", TOKEN]
    facts["config"]["engine"]["env"] = {"HF_TOKEN": TOKEN}
    facts["environment"] |= {"HF_TOKEN": TOKEN, "setup": f"curl -u me:{TOKEN} https://host"}
    facts["server"] |= {"said": f"api_key={TOKEN}"}
    facts["warnings"] = [{"code": "others_unknown", "sentence": f"Authorization: Bearer {TOKEN}"}]
    facts["invalid"] = [{"code": "failed_requests", "sentence": f"401: api_key={TOKEN}"}]
    (folder / "record.json").write_text(json.dumps(facts))
    columns = dict(np.load(folder / "requests.npz"))
    columns["error"] = np.array([f"401: api_key={TOKEN}", *columns["error"][1:].tolist()])
    np.savez(folder / "requests.npz", **columns)
    (folder / "server.log").write_text(f"args: {{'api_key': '{TOKEN}'}}\nready\n")
    return folder


def test_no_file_of_the_store_has_a_secret_of_an_early_build(early, store):
    before = {file: file.read_bytes() for file in early.iterdir()}
    tracking.file(early)
    assert {file: file.read_bytes() for file in early.iterdir()} == before
    kept = {file: file.read_bytes() for file in store.parent.rglob("*") if file.is_file()}
    assert sorted({"record.json", "requests.npz", "server.log"} & {file.name for file in kept}) == [
        "record.json",
        "requests.npz",
        "server.log",
    ]
    assert [file for file, data in kept.items() if any(form in data for form in FORMS)] == []
    (log,) = (file for file in kept if file.name == "server.log")
    assert log.read_text() == "args: {'api_key': '***'}\nready\n"
    (npz,) = (file for file in kept if file.name == "requests.npz")
    old, new = np.load(early / "requests.npz"), np.load(npz)
    assert new["error"][0] == "401: api_key=***"
    assert all(np.array_equal(old[name], new[name]) for name in old.files if name != "error")
    [row] = tracking.query("grid").to_dict("records")
    assert row["tags.env.setup"] == "curl -u me:*** https://host"
    assert row["tags.vbench.validity"] == "INVALID"


def test_a_report_for_other_programs_has_no_secret_of_an_early_build(early, tmp_path, store):
    assert store.exists()
    assert main([str(early), f"reports={tmp_path / 'reports'}"]) == 0
    (report,) = (tmp_path / "reports").iterdir()
    assert TOKEN not in report.read_text()


def test_a_record_without_secrets_is_the_same_record(tmp_path):
    record = Record.load(records.saved(records.record(), tmp_path / "out"))
    assert record.without_secrets() == record
