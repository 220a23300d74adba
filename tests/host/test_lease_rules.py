"""Which GPUs a session may have and whose memory is whose, at the edges: NVML, the clock and locks are played."""

import itertools
from types import SimpleNamespace

import pytest
from builders import run_config

from vbench.host import cores, gpus, leasefolder, leases, locks
from vbench.host.gpus import GpuFacts
from vbench.host.leases import LeaseRequest
from vbench.plan.rules import check_run
from vbench.plan.sessions import plan
from vbench.schema.errors import Refused

ONE, TWO = (
    check_run(run_config(hardware={"gpus": n}, parallelism={"tensor_parallel_size": n})).hardware for n in (1, 2)
)
IDLE_MIB, BUSY_MIB = 1024, 1025  # what the driver may hold on an idle GPU, and the first that is somebody's


def gpu(index, used_mib=3, **more):
    facts = {"product": "NVIDIA H100 80GB HBM3", "memory_mib": 81559, "near": frozenset()} | more
    return GpuFacts(index=index, uuid=f"GPU-{index}", used_mib=used_mib, **facts)


def test_a_gpu_is_in_use_above_a_gib():
    assert [gpu(0, used).in_use for used in (IDLE_MIB, BUSY_MIB)] == [False, True]


def test_gpus_of_strangers_are_missed_only_where_too_few_are_left(monkeypatch):
    monkeypatch.setattr(gpus, "describe_users", lambda uuid: [])
    pool = [gpu(0), gpu(1)]
    LeaseRequest(ONE, False).refuse_if_too_few(pool, pool[:1])
    for request, strangers in ((LeaseRequest(TWO, False), pool[:1]), (LeaseRequest(ONE, False), pool)):
        with pytest.raises(Refused, match="held by nobody seen from here"):
            request.refuse_if_too_few(pool, strangers)
    with pytest.raises(Refused, match=r"launcher\.exclusive=true: only 1 of 2 GPUs"):
        LeaseRequest(ONE, exclusive=True).refuse_if_too_few(pool, pool[:1])


def test_servers_on_the_cpu_and_exclusive_sessions_lock_the_cpu_alone():
    on_cpu = check_run(run_config()).hardware
    asked = ((on_cpu, False), (ONE, True), (ONE, False))
    kinds = [LeaseRequest(hardware, exclusive).cpu for hardware, exclusive in asked]
    assert kinds == [locks.ALONE, locks.ALONE, locks.SHARED]


@pytest.mark.parametrize(("drained_after_s", "leased"), [(10.0, True), (10.5, False)])
def test_memory_on_a_gpu_without_a_lease_is_a_strangers_after_ten_seconds(
    drained_after_s, leased, monkeypatch, tmp_path
):
    clock = itertools.count(step=0.5)
    seconds = [0.0]

    def now():
        seconds[0] = next(clock)
        return seconds[0]

    def find_gpus():
        return [gpu(0, 40000 if seconds[0] < drained_after_s + 0.5 else 3)]

    monkeypatch.setattr(leases, "time", SimpleNamespace(monotonic=now, sleep=lambda _: None))
    monkeypatch.setattr(gpus, "find_gpus", find_gpus)
    monkeypatch.setattr(gpus, "find_all_gpus", find_gpus)
    monkeypatch.setattr(gpus, "describe_users", lambda uuid: [])
    monkeypatch.setattr(leasefolder, "find", lambda: tmp_path)
    (session,) = plan([(check_run(run_config(hardware={"gpus": 1})), "vllm 1")])
    if leased:
        with leases.hold_lease(session, lambda _: None) as lease:
            assert lease.uuids == ("GPU-0",)
    else:
        with pytest.raises(Refused, match="only 0 of 1 GPUs are free"), leases.hold_lease(session, lambda _: None):
            pass


def test_a_slice_of_a_gpu_is_never_leased_for_the_whole(monkeypatch):
    monkeypatch.setattr(gpus, "find_gpus", lambda: [gpu(0, is_sliced=True), gpu(1)])
    assert [each.index for each in gpus.find_matching(ONE)] == [1]
    assert gpus.count_matching(ONE.gpu) == 1
    with pytest.raises(Refused, match="GPU 0 of this host is in MIG mode"):
        gpus.find_matching(TWO)


def test_gpus_divide_the_cores_if_each_gets_two():
    near = {"GPU-0": frozenset(), "GPU-1": frozenset()}
    assert {len(part) for part in cores.divide_among_gpus(near, range(4)).values()} == {2}
    assert {len(part) for part in cores.divide_among_gpus(near, range(3)).values()} == {3}


@pytest.mark.parametrize(("count", "servers", "client"), [(3, {0}, {1, 2}), (2, {0, 1}, {0, 1})])
def test_a_model_on_the_cpu_leaves_the_client_its_cores_where_one_is_left_for_the_server(count, servers, client):
    assert cores.split_servers_and_client(frozenset(range(count)), True, 2) == (servers, client)


def test_a_job_without_its_gpus_is_not_sent_to_slurm(monkeypatch):
    monkeypatch.setattr(gpus, "find_gpus", list)
    monkeypatch.delenv("SUBMITIT_EXECUTOR", raising=False)
    monkeypatch.setenv("SLURM_JOB_ID", "7")  # of a user's own allocation, whose GPUs the driver saw
    with pytest.raises(Refused, match="hydra/launcher=slurm"):
        gpus.find_matching(ONE)
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")  # as in a job that submitit sent
    with pytest.raises(Refused, match="gres_type of conf/slurm with `sinfo"):
        gpus.find_matching(ONE)
