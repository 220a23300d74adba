"""Asks llm-d-benchmark's own classes whether they accept the Benchmark Reports 0.2 that vbench writes.

    python benchmarks/benchmark_report.py                      of the published records; clones llm-d-benchmark
    python benchmarks/benchmark_report.py RECORDS CHECKOUT     of these records, with a clone that is there already

The classes are in no package index, so no test can ask them; they and their two libraries go into a temporary folder.
A report with a key that the format does not have must be refused, so that classes that take anything are found out.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RECORDS = ROOT / "docs" / "results" / "h200-vllm-0.26" / "records.zip"
SOURCE = "https://github.com/llm-d/llm-d-benchmark"
CLASSES = Path("llmdbenchmark", "analysis", "benchmark_report")
LIBRARIES = ("pydantic", "pyyaml")
ASK = """
import importlib, json, pathlib, sys, types
package = types.ModuleType("theirs")  # without what their package imports beside the classes
package.__path__ = [sys.argv[1]]
sys.modules["theirs"] = package
accept = importlib.import_module("theirs.schema_v0_2").BenchmarkReportV02.model_validate
found = [json.loads(path.read_text()) for path in sorted(pathlib.Path(sys.argv[2]).rglob("*.json"))]
for report in found:
    accept(report)
try:
    accept(found[0] | {"not_a_key": 1})
except ValueError:
    print(f"{len(found)} reports accepted, and one with an unknown key refused")
else:
    sys.exit("a report with an unknown key was accepted too: the classes check nothing")
"""


def main(records: Path, checkout: Path | None) -> int:
    """Returns the exit code of the question: 0 if all reports are accepted."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if checkout is None:
            checkout = folder / "theirs"
            subprocess.run(["git", "clone", "-q", "--depth", "1", SOURCE, str(checkout)], check=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder / "env")], check=True)
        python = str(folder / "env" / "bin" / "python")
        subprocess.run([python, "-m", "pip", "install", "-q", *LIBRARIES], check=True)
        store = {"MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db", "PYTHONPATH": str(ROOT)}
        ingest = [sys.executable, "-m", "vbench.ingest", str(records.resolve()), f"reports={folder / 'reports'}"]
        subprocess.run(ingest, cwd=folder, env=os.environ | store, stdout=subprocess.DEVNULL, check=True)
        ask = [python, "-c", ASK, str(checkout.resolve() / CLASSES), str(folder / "reports")]
        return subprocess.run(ask, env=os.environ | {"PYTHONPATH": ""}, check=False).returncode


if __name__ == "__main__":
    given = [Path(each) for each in sys.argv[1:3]]
    sys.exit(main(given[0] if given else RECORDS, given[1] if len(given) > 1 else None))
