"""A trace through the front door: its own times and lengths are sent."""

import math

from doors import fake, run_folders, vbench

from vbench.schema.record import REQUESTS, Record, Requests

PLAIN = "timestamp,input_length,output_tokens\n2.5,30,7\n\n2.0,10,5\n4.0,20,6\n"


def test_a_trace_is_replayed_at_its_times_through_the_front_door(tmp_path):
    (tmp_path / "trace.csv").write_text(PLAIN)
    ended = vbench(
        "hardware=cpu", "workload=trace", "workload.path=trace.csv", "workload.num_prompts=3",
        fake("--itl-s", "0.01"), cwd=tmp_path,
    )  # fmt: skip
    assert ended.returncode in (0, 1), ended.stdout + ended.stderr  # a busy host may make it INVALID, …
    (folder,) = run_folders(tmp_path)  # … and then it is measured again
    sent = Requests.load(folder / REQUESTS)
    assert sent.scheduled.tolist() == [0.0, 0.5, 2.0]
    assert (sent.sent >= sent.scheduled).all()
    assert (sent.input_tokens.tolist(), sent.output_tokens.tolist()) == ([10, 30, 20], [5, 7, 6])
    assert Record.load(folder).name == "tiny · cpu · tp1 · n3 trace"
    assert math.isinf(float(Record.load(folder).config["workload"]["request_rate"]))
