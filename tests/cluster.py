"""A real SLURM on this one host, for tests: a controller and four virtual nodes with fake GPUs, up in some seconds.

    with cluster() as slurm: ...        in a test; `slurm.env` makes sbatch, squeue and vbench speak to it
    python tests/cluster.py             by hand: prints an export and a first job to paste, runs until Ctrl-C or kill
    python tests/cluster.py accounted   the same with accounting

    partition   nodes     GPUs of each   preempted by urgent
    h100        h100n0-1  8 h100         requeued after a grace of GRACE_S seconds
    a100        a100n0-1  4 a100         requeued without grace
    urgent      all                      never

Unless it is asked for, nothing is accounted: what has ended is known to squeue for a while, then to the completion file
only. `cluster(accounted=True)` has a slurmdbd, in front of a MariaDB on a socket, and no completion file.
GPUs are character devices, aliases of /dev/null, for that is all that SLURM looks at; what NVML would say of them is
tests/fakes/pynvml.py, told by `site.sh`, which a job runs first (launcher.setup). Ports and folder are the cluster's
own: several can run beside each other. Needs root and Debian's slurmctld, slurmd, slurm-client and munge; accounting
slurmdbd and mariadb-server-core.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vbench.host.ports import find_free_ports

NODES = {"h100n0": ("h100", 8), "h100n1": ("h100", 8), "a100n0": ("a100", 4), "a100n1": ("a100", 4)}
PRODUCTS = {"h100": "NVIDIA H100 80GB HBM3", "a100": "NVIDIA A100-SXM4-80GB"}
GRACE_S = 8
KILL_WAIT_S = 30  # SLURM's own default: the time between TERM and KILL
UP_S, DOWN_S = 180, 60
FAKES = Path(__file__).resolve().parent / "fakes"
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue")
ACCOUNTING = ("slurmdbd", "mariadbd")
PACKAGES = ("slurmctld", "slurmd", "slurm-client", "munge", "slurmdbd", "mariadb-server-core")
SYSTEM_TABLES = Path("/usr/share/mysql/mysql_system_tables.sql")
SEARCHED = f"{os.environ['PATH']}{os.pathsep}/usr/sbin"


def missing(accounted: bool = False) -> str | None:
    """Why no cluster can be made here, None where it can."""
    needed = PROGRAMS + ACCOUNTING * accounted
    absent = [program for program in needed if not shutil.which(program, path=SEARCHED)]
    if absent:
        return f"no {', '.join(absent)} here: apt-get install {' '.join(PACKAGES)}"
    return None if os.geteuid() == 0 else "a SLURM of one's own needs root: it makes devices and starts daemons"


@dataclass
class Cluster:
    """One SLURM below `root`. `parameters` are more lines of its slurm.conf; `accounted` with a slurmdbd; `beside` are
    further configuration files, such as oci.conf.
    """

    root: Path
    parameters: str = ""
    accounted: bool = False
    beside: Mapping[str, str] = field(default_factory=dict)
    daemons: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def conf(self) -> Path:
        return self.root / "slurm.conf"

    @property
    def env(self) -> dict[str, str]:
        return {"SLURM_CONF": str(self.conf)}

    @property
    def setup(self) -> str:
        """The line that a job runs first: what NVML says on its node."""
        return f"source {self.root}/site.sh"

    def start(self) -> None:
        """Starts every daemon and returns when all nodes take jobs. Raises TimeoutError, with the logs."""
        self._write()
        self._start(
            "munged", "--foreground", "--force", f"--key-file={self.root}/munge.key",
            f"--socket={self.root}/munge.socket", f"--pid-file={self.root}/run/munged.pid", "--num-threads=2",
            f"--log-file={self.root}/log/munged.log", f"--seed-file={self.root}/run/munged.seed",
        )  # fmt: skip
        if self.accounted:
            self._start_accounting()
        self.start_controller()
        for node in NODES:
            self._start("slurmd", "-D", "-N", node, "-f", str(self.conf), name=node)
        deadline = time.monotonic() + UP_S
        while self.call("sinfo", "-h", "-N", "-p", "urgent", "-o", "%T").stdout.split() != ["idle"] * len(NODES):
            if time.monotonic() > deadline:
                logs = "".join(f"\n{log}\n{log.read_text()[-2000:]}" for log in (self.root / "log").glob("*.log"))
                raise TimeoutError(f"no SLURM within {UP_S} s{logs}")
            time.sleep(0.1)

    def start_controller(self) -> None:
        self._start("slurmctld", "-D", "-f", str(self.conf))

    def stop_controller(self) -> None:
        """The controller goes away; jobs run on, and what it knew is on disk."""
        self._end("slurmctld")

    def stop(self) -> None:
        """Cancels every job and ends every daemon; returns when all of them are gone."""
        self.call("scancel", "--me")
        with contextlib.suppress(TimeoutError):
            self.until(lambda: not self.call("squeue", "-h").stdout.strip(), DOWN_S)
        for name in reversed(list(self.daemons)):
            self._end(name)

    def call(self, *words: str) -> subprocess.CompletedProcess[str]:
        """One of SLURM's commands, to its end, whatever that is."""
        return subprocess.run(
            words, env={**os.environ, **self.env}, capture_output=True, text=True, timeout=120, check=False
        )

    def take_all(self) -> Callable[[], object]:
        """Returns when jobs of the urgent partition have every GPU; the function that it returns ends them."""
        words = ["sbatch", "--parsable", "--output=/dev/null", "--wrap=sleep 600", "--partition=urgent", "--nodes=2"]
        ids = [self.call(*words, f"--gres=gpu:{gpu}:{count}").stdout.strip() for gpu, count in {*NODES.values()}]
        running = ["squeue", "-h", "-t", "running", "-o", "%i", "-j", ",".join(ids)]
        self.until(lambda: len(self.call(*running).stdout.split()) == len(ids))
        return lambda: self.call("scancel", *ids)

    def jobs(self, form: str) -> list[str]:
        """A line a job, ended ones too while the controller remembers them; `form` as squeue's --format."""
        return self.call("squeue", "-h", "-r", "-t", "all", "-S", "i", "-o", form).stdout.split("\n")[:-1]

    def until(self, true, timeout_s: float = 120) -> None:
        """Waits for a condition. Raises TimeoutError, with the queue as it stands."""
        deadline = time.monotonic() + timeout_s
        while not true():
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {timeout_s} s; the queue: {self.jobs('%i %j %T %r')}")
            time.sleep(0.1)

    def _write(self) -> None:
        host = socket.gethostname().partition(".")[0]
        controller, accounting, *ports = find_free_ports(2 + len(NODES))
        for folder in ("run", "log", "state", "spool", "dev"):
            (self.root / folder).mkdir()
        for index in range(max(count for _, count in NODES.values())):
            os.mknod(self.root / "dev" / f"nvidia{index}", 0o20666, os.makedev(1, 3))
        (self.root / "munge.key").write_bytes(secrets.token_bytes(128))
        (self.root / "munge.key").chmod(0o400)
        self.root.chmod(0o755)
        nodes = "\n".join(
            f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=64 RealMemory=1000000 "
            f"Gres=gpu:{gpu}:{count}"
            for port, (name, (gpu, count)) in zip(ports, NODES.items(), strict=True)
        )
        kept = SLURMDBD if self.accounted else COMPLETION_FILE
        more = kept.format(root=self.root, port=accounting) + self.parameters
        self.conf.write_text(CONF.format(root=self.root, host=host, port=controller, nodes=nodes, more=more))
        slurmdbd = self.root / "slurmdbd.conf"  # beside slurm.conf is where it looks
        slurmdbd.touch(0o600)
        slurmdbd.write_text(SLURMDBD_CONF.format(root=self.root, port=accounting))
        gres = [
            f"NodeName={name} Name=gpu Type={gpu} File={self.root}/dev/nvidia[0-{count - 1}]"
            for name, (gpu, count) in NODES.items()
        ]
        (self.root / "gres.conf").write_text("\n".join(["AutoDetect=off", *gres, ""]))
        for name, text in self.beside.items():
            (self.root / name).write_text(text)
        cases = [
            f"{name}) export FAKE_GPUS='{','.join([PRODUCTS[gpu]] * count)}' FAKE_GPU_HOST={name} ;;"
            for name, (gpu, count) in NODES.items()
        ]
        fakes = f"export PYTHONPATH={FAKES}${{PYTHONPATH:+:$PYTHONPATH}}"  # where NVML is the fake one
        (self.root / "site.sh").write_text("\n".join([fakes, "case $SLURMD_NODENAME in", *cases, "esac", ""]))

    def _start_accounting(self) -> None:
        """MariaDB on a socket, and slurmdbd in front of it; slurmctld makes its cluster known to them by itself."""
        data, listening = self.root / "database", self.root / "database.socket"
        data.mkdir()
        options = ["--no-defaults", "--user=root", f"--datadir={data}", "--innodb-log-file-size=8M"]
        tables = "create database mysql;\nuse mysql;\n" + SYSTEM_TABLES.read_text()
        bootstrap = [_path("mariadbd"), *options, "--bootstrap"]
        subprocess.run(bootstrap, input=tables, text=True, capture_output=True, check=True)
        self._start("mariadbd", *options, f"--socket={listening}", "--skip-networking", "--skip-grant-tables")
        self.until(listening.exists, UP_S)
        self._start("slurmdbd", "-D", MYSQL_UNIX_PORT=str(listening))
        self.until(lambda: self.call("sacctmgr", "-n", "list", "cluster").returncode == 0, UP_S)

    def _start(self, program: str, *words: str, name: str = "", **more: str) -> None:
        env = {key: value for key, value in os.environ.items() if not key.startswith("SLURM")}
        with (self.root / "log" / f"{name or program}.out").open("ab") as out:
            self.daemons[name or program] = subprocess.Popen(
                [_path(program), *words], env=env | self.env | more, stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )

    def _end(self, name: str) -> None:
        daemon = self.daemons.pop(name)
        daemon.terminate()
        try:
            daemon.wait(DOWN_S)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()


@contextlib.contextmanager
def cluster(
    parameters: str = "", accounted: bool = False, beside: Mapping[str, str] | None = None
) -> Iterator[Cluster]:
    """A cluster that takes jobs, for a block; nothing of it is left afterwards."""
    # Not below pytest's folders: munge's socket must have a short path.
    root = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
    made = Cluster(root, parameters, accounted, beside or {})
    try:
        made.start()
        yield made
    finally:
        made.stop()
        shutil.rmtree(root, ignore_errors=True)


def _path(program: str) -> str:
    return shutil.which(program, path=SEARCHED) or program


CONF = f"""\
ClusterName=vbench
SlurmctldHost={{host}}(127.0.0.1)
SlurmctldPort={{port}}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# A requeued job waits as long as its credential lives: two minutes by default, five seconds at least.
AuthInfo=socket={{root}}/munge.socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={{root}}/state
SlurmdSpoolDir={{root}}/spool/%n
SlurmctldPidFile={{root}}/run/slurmctld.pid
SlurmdPidFile={{root}}/run/slurmd-%n.pid
SlurmctldLogFile={{root}}/log/slurmctld.log
SlurmdLogFile={{root}}/log/slurmd-%n.log
# Four nodes are one host: no cgroups, no binding, and the conf is right where it says more cores than there are.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SwitchType=switch/none
MpiDefault=none
SlurmdParameters=config_overrides
ReturnToService=2
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,sched_min_interval=100000,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
PriorityType=priority/basic
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
KillWait={KILL_WAIT_S}
MessageTimeout=5
SlurmctldTimeout=10
{{more}}
{{nodes}}
PartitionName=DEFAULT MaxTime=1-0 DefaultTime=60 DefMemPerCPU=1000 State=UP
PartitionName=h100 Nodes=h100n[0-1] PriorityTier=1 GraceTime={GRACE_S} Default=YES
PartitionName=a100 Nodes=a100n[0-1] PriorityTier=1 GraceTime=0
PartitionName=urgent Nodes=h100n[0-1],a100n[0-1] PriorityTier=10 PreemptMode=OFF
"""

COMPLETION_FILE = """\
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc={root}/log/jobcomp.txt
"""
SLURMDBD = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={port}
AccountingStoragePass={root}/munge.socket
JobCompType=jobcomp/none
"""
SLURMDBD_CONF = """\
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={port}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={root}/munge.socket
LogFile={root}/log/slurmdbd.log
PidFile={root}/run/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
"""


if __name__ == "__main__":
    accounted = sys.argv[1:] == ["accounted"]
    if why := missing(accounted):
        sys.exit(why)
    for each in (signal.SIGINT, signal.SIGTERM):  # a shell starts what it puts in the background deaf to Ctrl-C
        signal.signal(each, lambda *_: sys.exit())
    with cluster(accounted=accounted) as slurm:
        print(f"export SLURM_CONF={slurm.conf}")
        print(
            "python -m vbench hydra/launcher=slurm model=llama8b hardware=1xh100 engine.weights=dummy "
            f"engine.command=[python,{FAKES.with_name('fake_vllm.py')}] workload.num_prompts=10 experiment=try "
            f"\"launcher.setup=['{slurm.setup}']\"",
            flush=True,
        )
        signal.pause()
