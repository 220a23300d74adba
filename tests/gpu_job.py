"""A job that leases GPUs of its host and keeps a server on them, told by its flags and by its end of input.

    python tests/gpu_job.py GPUS [unchecked] [exclusive] [unmarked] [hold:SECONDS] [die]

It says "waits …", "leased UUIDS", "cores …" and, when it is over, "left". The server locks a file of its own for each
GPU below $USES: one that finds it locked is not alone on its GPU, and then the job says "double use". The job holds the
lease until its input ends, or for some seconds, and no longer than two minutes, so that a test that waits for it fails;
`die` kills it at that point, and its server stays. An `unmarked` server inherits the lease, but does not say
so in its environment: nobody can know whose it is. `unchecked` leaves out the check up front that a campaign makes.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from builders import run_config

from vbench.host.leases import LEASE, HostLease, hold_lease, refuse_if_unavailable
from vbench.plan.rules import check_run
from vbench.plan.sessions import plan
from vbench.schema.errors import Refused

SERVER = """
import fcntl, os, sys, time
files = [open(os.path.join(os.environ["USES"], uuid), "w") for uuid in os.environ["CUDA_VISIBLE_DEVICES"].split(",")]
try:
    for file in files: fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    print("double use", flush=True)
else:
    print("serving", flush=True)
time.sleep(600)
"""


def say(text: str) -> None:
    os.write(1, f"{text}\n".encode())


def server(share: HostLease, marked: bool) -> subprocess.Popen:
    devices = ",".join(share.uuids) or "cpu"
    env = {**os.environ, "CUDA_VISIBLE_DEVICES": devices, **({LEASE: share.lease} if marked else {})}
    argv = [sys.executable, "-S", "-c", SERVER]
    return subprocess.Popen(
        argv, env=env, pass_fds=share.descriptors, start_new_session=True, stdout=subprocess.PIPE, text=True
    )


def main(gpus: int, words: list[str]) -> None:
    Path(os.environ["USES"]).mkdir(exist_ok=True)
    hold = [float(word.removeprefix("hold:")) for word in words if word.startswith("hold:")]
    config = check_run(run_config(hardware={"gpus": gpus}, parallelism={"data_parallel_size": None}))
    (session,) = plan([(config, "fake")])
    if "unchecked" not in words:
        refuse_if_unavailable(session, "exclusive" in words)
    with hold_lease(session, lambda why: say(f"waits {why}"), "exclusive" in words) as share:
        process = server(share, "unmarked" not in words)
        if (told := process.stdout.readline().strip()) != "serving":
            say(told)
        say(f"cores {' '.join(map(str, sorted(share.cores)))}")
        say(f"leased {' '.join(share.uuids)}")
        time.sleep(hold[0]) if hold else sys.stdin.read()
        if "die" in words:
            os.kill(os.getpid(), signal.SIGKILL)
        process.terminate()
        process.wait()
    say("left")


if __name__ == "__main__":
    signal.alarm(120)
    try:
        main(int(sys.argv[1]), sys.argv[2:])
    except Refused as refused:
        say(f"refused {refused}")
