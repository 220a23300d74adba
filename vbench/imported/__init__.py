"""Turns result files of vLLM's own benchmark and of other tools into records. Pure: text and a path in, records out.

It knows neither MLflow nor where files lie, and never fills in what neither a file nor its path says.

    files       text -> results; a path -> what the pattern finds in it
    catalogue   names that people give to models and GPUs -> those of conf/
    conditions  the part of a run's config that is known
    samples     the arrays of --save-detailed -> Requests
    flaws       what such numbers hide
    tools       results of guidellm, aiperf and others in vLLM's terms, a tool a file
    conversion  a result -> records
    report      a record -> llm-d's Benchmark Report 0.2

Accepted forms, as `benchmark_serving.py` and `vllm bench serve` write them (0.5 to 0.33): a JSON object, one object a
line (--append-result), the results and failures of `vllm bench sweep`, and `{"reason": "…"}` for a noted failure.
"""

from vbench.imported.catalogue import Catalogue
from vbench.imported.conversion import Imported, Source, convert, convert_all
from vbench.imported.files import PATTERN, NotAResult, compile_pattern, match_path, parse_results
from vbench.imported.report import REPORTS, benchmark_report
from vbench.imported.tools import BESIDE, NO_RESULTS

__all__ = [
    "BESIDE", "NO_RESULTS", "PATTERN", "REPORTS", "Catalogue", "Imported", "NotAResult", "Source", "benchmark_report",
    "compile_pattern",
    "convert", "convert_all", "match_path", "parse_results",
]  # fmt: skip
