"""Several load processes share the places of a load whose requests have times of their own."""

import dataclasses
import os

import numpy as np
import pytest

from tests.fake_vllm import running
from tests.loadgen.test_dealing import load
from tests.loadgen.test_loadgen import counter
from vbench.loadgen import Endpoint, Workers
from vbench.loadgen.load import deal
from vbench.loadgen.places import OwnPlaces, fill_pool, make_pool


@pytest.fixture(scope="module")
def two():
    with Workers(2) as workers:
        yield workers


def paced(url, lengths, scheduled, **limits):
    asked = load(lengths, **limits)
    return dataclasses.replace(asked, endpoints=(Endpoint(url, "fake"),), scheduled=np.array(scheduled), timeout_s=60.0)


def test_a_request_that_is_due_takes_a_place_that_another_process_does_not_need(two):
    """Dealt by their tokens, or with a part of the places each, the last would wait for the third."""
    with running("--itl-s", "0.05") as url:
        asked = paced(url, [2, 50, 45, 2, 2], [0.0, 0.05, 5.0, 5.1, 5.2], max_concurrency=2)
        assert [own.tolist() for own, _ in deal(asked, 2)] == [[0, 2, 4], [1, 3]]
        requests, client = two.run(asked)
    assert client.processes == 2
    assert requests.error.tolist() == [""] * 5
    assert (requests.sent[3:] < requests.finished[2]).all()


@pytest.mark.parametrize("limit", [2, 3])
def test_all_processes_together_never_send_more_than_there_are_places(two, limit):
    with running("--itl-s", "0.002") as url:
        for scheduled in (np.repeat([0.0, 0.3, 0.6], 40), np.zeros(120)):
            requests, _ = two.run(paced(url, [5] * 120, scheduled, max_concurrency=limit))
            assert requests.error.tolist() == [""] * 120
        assert counter(url, "fake:most_requests_in_flight") == limit


def test_a_load_that_was_given_up_leaves_the_next_one_all_places(two):
    with running("--ttft-s", "100") as url:
        given_up = paced(url, [5] * 8, np.arange(8) / 100, max_concurrency=3)
        requests, _ = two.run(dataclasses.replace(given_up, timeout_s=0.5))
        assert requests.error.tolist() == ["timeout"] * 8
    with running("--ttft-s", "0.2", "--itl-s", "0.002") as url:
        requests, _ = two.run(paced(url, [5] * 40, np.arange(40) / 1000, max_concurrency=3))
        assert requests.error.tolist() == [""] * 40
        assert counter(url, "fake:most_requests_in_flight") == 3


def test_a_pool_has_as_many_places_as_it_was_filled_with():
    pool = make_pool()
    for count in (3, 0, 2):
        fill_pool(pool, count)
        for _ in range(count):
            os.eventfd_read(pool)
        with pytest.raises(BlockingIOError):
            os.eventfd_read(pool)
    fill_pool(pool, 5)
    fill_pool(pool, 1)
    os.eventfd_read(pool)
    with pytest.raises(BlockingIOError):
        os.eventfd_read(pool)
    os.close(pool)


def test_own_places_are_awaited_from_the_one_that_could_not_be_had_to_the_next_that_could():
    places = OwnPlaces(2)
    assert [places.take() for _ in range(3)] == [True, True, False]
    assert places.is_awaited
    places.put_back()
    assert places.is_awaited
    assert places.take()
    assert not places.is_awaited
