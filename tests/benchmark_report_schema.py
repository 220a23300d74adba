"""What llm-d's Benchmark Report 0.2 demands, as far as vbench writes it, in our own words.

The format's own classes are in no package index; benchmarks/benchmark_report.py fetches them and asks them the same.
Every part allows only the keys named here, as these classes do.
"""

from __future__ import annotations

from typing import Any

from jsonschema import Draft202012Validator

TEXT, COUNT = {"type": "string"}, {"type": "integer", "minimum": 0}
NUMBER, POSITIVE = {"type": "number"}, {"type": "number", "exclusiveMinimum": 0}
SHAPES = ("mean", "stddev", "p50", "p90", "p95", "p99")


def part(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    """An object with these keys and no others."""
    known = required | (optional or {})
    return {"type": "object", "properties": known, "required": list(required), "additionalProperties": False}


def statistics(unit: str) -> dict[str, Any]:
    return part({"units": {"const": unit}, "mean": NUMBER}, dict.fromkeys(SHAPES, NUMBER))


METADATA = part({"schema_version": TEXT, "cfg_id": TEXT}, {"label": TEXT, "description": TEXT})
NATIVE = part({"config": {"type": "object"}})
LENGTHS = part({"distribution": TEXT, "value": NUMBER})
PARALLELISM = part(
    {each: {"type": "integer", "minimum": 1} for each in ("tp", "dp", "dp_local", "workers", "pp", "ep")}
)
ENGINE = part(
    {
        "kind": {"const": "inference_engine"},
        "tool": TEXT,
        "tool_version": TEXT,
        "role": {"enum": ["replica", "prefill", "decode"]},
        "replicas": COUNT,
        "model": part({"name": TEXT}),
        "accelerator": part({"model": TEXT, "count": COUNT, "parallelism": PARALLELISM}),
    }
)
LOAD = part(
    {
        "tool": TEXT,
        "tool_version": TEXT,
        "source": {"enum": ["random", "sampled", "unknown"]},
        "input_seq_len": LENGTHS,
    },
    {"output_seq_len": LENGTHS, "rate_qps": POSITIVE, "concurrency": {"type": "integer", "minimum": 1}},
)
AGGREGATE = part(
    {
        "requests": part(
            {"total": COUNT, "failures": COUNT},
            dict.fromkeys(("input_length", "output_length"), statistics("count")) | {"incomplete": COUNT},
        ),
        "latency": part(
            {},
            {
                "time_to_first_token": statistics("ms"),
                "request_latency": statistics("ms"),
                "time_per_output_token": statistics("ms/token"),
                "inter_token_latency": statistics("ms/token"),
            },
        ),
        "throughput": part(
            {},
            {
                "request_rate": statistics("queries/s"),
                **dict.fromkeys(("input_token_rate", "output_token_rate", "total_token_rate"), statistics("tokens/s")),
            },
        ),
    }
)
SCHEMA = Draft202012Validator(
    part(
        {
            "version": {"const": "0.2"},
            "run": part(
                {
                    "uid": TEXT,
                    "time": part({"start": TEXT, "end": TEXT}, {"duration": {"type": "string", "pattern": "^PT"}}),
                },
                {
                    "eid": TEXT,
                    "cid": TEXT,
                    "pid": TEXT,
                    "description": TEXT,
                    "keywords": {"type": "array", "items": TEXT},
                },
            ),
            "scenario": part(
                {
                    "stack": {
                        "type": "array",
                        "items": part({"metadata": METADATA, "standardized": ENGINE, "native": NATIVE}),
                    }
                },
                {"load": part({"metadata": METADATA, "standardized": LOAD, "native": NATIVE})},
            ),
            "results": part({}, {"request_performance": part({"aggregate": AGGREGATE})}),
        }
    )
)
