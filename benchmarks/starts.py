"""The starts that a plan assumes on a host without records: those of the published records.

python benchmarks/starts.py                      prints them
python benchmarks/starts.py --save               also writes what vbench ships
python benchmarks/starts.py --records FOLDER     other records
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from vbench.plan.forecast.published_starts import TABLE, describe_starts
from vbench.schema import to_plain
from vbench.schema.archives import read_records

ROOT = Path(__file__).parents[1]
SHIPPED = ROOT / "vbench" / "plan" / "forecast" / TABLE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=Path, default=ROOT / "docs" / "results")
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    starts = describe_starts(read_records(options.records))
    for each in starts:
        print(
            f"{each.model:45} {each.weights_gib:6.1f} GiB  {'experts' if each.experts else 'dense':7} "
            f"{each.gpus} GPUs  {each.engine}, {each.weights} weights: {each.start_s:.1f} s"
        )
    if options.save:
        rows = ",\n".join(f" {json.dumps(to_plain(each))}" for each in starts)
        SHIPPED.write_text(f"[\n{rows}\n]\n")


if __name__ == "__main__":
    main()
