"""Measures a small session under every container runtime of this host, and checks that nothing is left of it.

    python benchmarks/containers.py                 those that are installed; a minute each; needs root
    python benchmarks/containers.py podman ch-run   only these

The image is a folder that has the host's /usr, /etc and the folders of vbench bound into it, so nothing is downloaded.
The server is tests/fake_vllm.py. With `srun` and `sbatch` it runs in an OCI bundle that tests/cluster.py's SLURM gives
to crun; all others start it by `engine.command`. A runtime passes if both points are measured, if the CPU time of the
server's front end was seen and its GPU is the one of the lease, and if no process is left.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import numpy as np  # noqa: E402  the checkout is the package
from cluster import Cluster, cluster, missing  # noqa: E402
from doors import FAKE, vbench  # noqa: E402

from vbench.schema.record import Record, is_aside  # noqa: E402

READ_ONLY = ("/usr", "/etc", "/opt", "/var")
UNIFIED = "/sys/fs/cgroup/unified"  # crun refuses hosts with both versions of control groups
SHOWING = """\
import os, sys
print("GPUs of the server:", os.environ.get("CUDA_VISIBLE_DEVICES"), flush=True)
os.execv(sys.executable, [sys.executable, {fake!r}, *sys.argv[1:]])
"""
OCI = """
RunTimeQuery="{crun} state %n.%u.%j.%s.%t"
RunTimeKill="{crun} kill -a %n.%u.%j.%s.%t"
RunTimeDelete="{crun} delete --force %n.%u.%j.%s.%t"
RunTimeRun="{crun} run --bundle %b %n.%u.%j.%s.%t"
"""
LOAD = (
    "-m", "model=llama8b", "hardware=1xh100", "engine.weights=dummy", "workload=random", "workload.input_len=16",
    "workload.output_len=20", "workload.num_prompts=2,3", "launcher.retries=0",
)  # fmt: skip


def main(asked: Sequence[str]) -> int:
    if os.path.ismount(UNIFIED) and "CONTAINERS_AGAIN" not in os.environ:
        leave_unified(asked)
    with tempfile.TemporaryDirectory(prefix="vbench-containers-") as scratch:
        place = Path(scratch)
        found = False
        for name, words in find_wrappers(place).items():
            if name in (asked or [name]) and shutil.which(words[0]):
                found |= tell(name, try_wrapper(place / name, words))
        names = [name for name in ("srun", "sbatch") if name in (asked or [name])]
        if names and not missing() and shutil.which("crun"):
            bundle = make_bundle(place / "bundle")
            with oci_cluster(place) as slurm:
                for name in names:
                    found |= tell(name, try_slurm(place / name, slurm, bundle, name))
    return found


def tell(name: str, wrong: Sequence[str]) -> bool:
    """Prints what is wrong; whether anything is."""
    print(f"{name}: {'; '.join(wrong) or 'as without a container'}", flush=True)
    return bool(wrong)


def leave_unified(asked: Sequence[str]) -> None:
    """Replaces this process by one in a mount namespace without version 2 of control groups."""
    again = ["unshare", "-m", "sh", "-c", f'umount {UNIFIED}; exec "$@"', "sh", sys.executable, __file__, *asked]
    os.execvpe(again[0], again, os.environ | {"CONTAINERS_AGAIN": "1"})


def find_wrappers(place: Path) -> dict[str, list[str]]:
    """The words before the server's command, for each runtime."""
    image = make_root(place / "image")
    binds = [folder for folder in (*READ_ONLY, *writable()) if folder != "/etc"]
    bwrap = [word for folder in READ_ONLY for word in ("--ro-bind", folder, folder)]
    bwrap += [word for folder in writable() for word in ("--bind", folder, folder)]
    bwrap += [word for link in links() for word in ("--symlink", str(link.readlink()), str(link))]
    return {
        "bwrap": ["bwrap", *bwrap, "--proc", "/proc", "--dev", "/dev", "--unshare-pid", "--unshare-user"],
        "ch-run": ["ch-run", *(word for folder in binds for word in ("-b", folder)), str(image), "--"],
        "podman": [
            "podman", "run", "--rm", "--network=host", "--cgroups=disabled",
            "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=30000:30000",
            *(word for folder in binds for word in ("-v", f"{folder}:{folder}")), "--rootfs", f"{image}:O",
        ],
    }  # fmt: skip


def writable() -> list[str]:
    """The folders of the checkout, of its environment and of scratch files."""
    parts = {f"/{Path(path).parts[1]}" for path in (ROOT, sys.prefix, os.path.realpath(sys.executable), Path.home())}
    return sorted({"/tmp", *parts} - {*READ_ONLY})


def links() -> list[Path]:
    return [path for path in map(Path, ("/bin", "/lib", "/lib64", "/sbin")) if path.is_symlink()]


def make_root(root: Path) -> Path:
    """A folder to bind the host's folders into."""
    for folder in ("/dev", "/proc", "/sys", "/run", "/home", *READ_ONLY, *writable()):
        Path(f"{root}{folder}").mkdir(parents=True, exist_ok=True)
    for name in ("passwd", "group", "hosts", "resolv.conf"):
        (root / "etc" / name).touch()
    for link in links():
        Path(f"{root}{link}").symlink_to(link.readlink())
    return root


def make_bundle(folder: Path) -> Path:
    """An OCI bundle of the same folders, in a mount namespace of its own only."""
    make_root(folder / "rootfs")
    binds = {**dict.fromkeys(READ_ONLY, "ro"), **dict.fromkeys(writable(), "rw"), "/sys": "ro"}
    mounts = [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
        {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["mode=1777"]},
    ]
    mounts += [
        {"destination": path, "type": "none", "source": path, "options": ["rbind", mode]}
        for path, mode in binds.items()
    ]
    capable = ["CAP_KILL", "CAP_DAC_OVERRIDE", "CAP_SETUID", "CAP_SETGID", "CAP_SYS_PTRACE"]
    process = {
        "terminal": False, "user": {"uid": 0, "gid": 0}, "args": ["true"], "cwd": "/",
        "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
        "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), capable),
    }  # fmt: skip
    config = {
        "ociVersion": "1.0.0", "process": process, "root": {"path": "rootfs", "readonly": True}, "mounts": mounts,
        "linux": {"namespaces": [{"type": "mount"}]},
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@contextlib.contextmanager
def oci_cluster(place: Path) -> Iterator[Cluster]:
    """A SLURM whose --container runs crun."""
    crun = f"{shutil.which('crun')} --cgroup-manager=disabled --root={place}/crun"
    with cluster(beside={"oci.conf": OCI.format(crun=crun)}) as slurm:
        yield slurm


def try_wrapper(home: Path, words: Sequence[str]) -> list[str]:
    return measure(home, words, gpus="NVIDIA H100 80GB HBM3", USER=os.environ.get("USER", "root"))


def try_slurm(home: Path, slurm: Cluster, bundle: Path, name: str) -> list[str]:
    """`srun`: only the server is in the container; `sbatch`: the whole job."""
    # In a container the batch script has no SLURMD_NODENAME, which the fake GPUs go by.
    site = home.with_suffix(".sh")
    site.write_text(f"export SLURMD_NODENAME=${{SLURMD_NODENAME:-$SLURM_JOB_NODELIST}}\n{slurm.setup}\n")
    more = (
        "hydra/launcher=slurm", "hardware.slurm.partition=h100", "hardware.slurm.mem_gib_per_gpu=1",
        f"launcher.setup=['source {site}']",
    )  # fmt: skip
    if name == "srun":
        return measure(home, ["srun", "--overlap", f"--container={bundle}"], *more, **slurm.env)
    return measure(home, [], *more, f"hardware.slurm.extra={{container: {bundle}}}", **slurm.env)


def measure(home: Path, wrapper: Sequence[str], *more: str, gpus: str = "", **env: str) -> list[str]:
    """What is wrong with a session of two points whose server is started behind the wrapper."""
    home.mkdir()
    (home / "shown.py").write_text(SHOWING.format(fake=str(FAKE)))
    command = [*wrapper, sys.executable, str(home / "shown.py"), "--itl-s", "0.02"]
    quoted = ",".join(f'"{word}"' for word in command)
    left = vbench(*LOAD, f"engine.command=[{quoted}]", *more, cwd=home, gpus=gpus, **env)
    every = [path.parent for path in home.glob("multirun/*/*/*/record.json")]
    folders = [folder for folder in every if not is_aside(folder)]  # a busy host has runs measured again
    failures = [record.failure for record in map(Record.load, folders) if record.failure]
    wrong = [f"{failure.kind}: {failure.line}" for failure in failures]
    wrong += [f"{len(folders)} records: {(left.stdout + left.stderr)[-2000:]}"] * (len(folders) < 2)
    series = [set(np.load(folder / "telemetry.npz").files) for folder in folders if (folder / "telemetry.npz").exists()]
    wrong += ["the front end's CPU time was not seen"] * (not all("cpu/frontend0_s" in names for names in series))
    printed = "".join(path.read_text() for path in home.glob("multirun/*/*/server.log"))
    wrong += ["the server has other GPUs"] * ("GPUs of the server: GPU-" not in printed)
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout.splitlines()
    return wrong + [f"left: {line}" for line in listed if "fake_vllm.py" in line and str(home) in line]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
