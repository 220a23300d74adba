"""Results of vLLM's own benchmark, of any age, as records of vbench. Pure: text and a path in, records out.

    parsing     text -> results; a path -> what its pattern finds in it
    known       names that people give to models and GPUs -> those of conf/
    conditions  what is known of a run's config; what nobody says stays unsaid
    samples     the arrays of --save-detailed -> Requests
    flaws       what such numbers hide
    reading     a result -> a record

Forms, as `benchmark_serving.py` and `vllm bench serve` write them (0.5 to 0.32): a JSON object, one a line with
--append-result, those of a `vllm bench sweep`, its failures, and `{"reason": "…"}` where somebody noted a failure.
"""

from vbench.imported.known import Catalogue
from vbench.imported.parsing import PATTERN, NotAResult, compiled, found_in, results
from vbench.imported.reading import Imported, Source, read

__all__ = ["PATTERN", "Catalogue", "Imported", "NotAResult", "Source", "compiled", "found_in", "read", "results"]
