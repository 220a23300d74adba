"""Where latencies reach the objectives, and how steeply misses should grow there."""

import math

import pytest

from vbench.workload.curve import GENTLER, HOST, Point, fit_curve


def points(power, spread, levels=(80.0, 90.0, 100.0, 105.0), crossing=100.0):
    return [Point(level, (level / crossing) ** power, spread, 400) for level in levels]


@pytest.mark.parametrize("power", [0.8, 1.5, 3.0])
def test_the_crossing_lies_where_a_power_of_the_level_reaches_the_limit(power):
    assert fit_curve(points(power, 0.1)).crossing == pytest.approx(100, rel=0.01)


def test_levels_far_from_the_limit_hardly_count():
    far = Point(50.0, 0.75, 0.1, 400)
    assert fit_curve([far, *points(2.0, 0.1)]).crossing == pytest.approx(100, rel=0.02)
    assert math.isnan(fit_curve([Point(4.0, 0.2, 0.1, 400)]).crossing)


def test_misses_grow_more_steeply_where_latencies_grow_with_the_level_and_differ_little():
    expected = GENTLER * 1.5 * math.log(10) / 0.1
    assert fit_curve(points(1.5, 0.1)).steepness == pytest.approx(expected, rel=0.02)
    assert fit_curve(points(1.5, 0.2)).steepness == pytest.approx(expected / 2, rel=0.02)
    assert fit_curve(points(3.0, 0.1)).steepness > 1.2 * expected


def test_a_probe_without_latencies_or_without_a_spread_tells_nothing():
    for unknown in (Point(90.0, math.nan, 0.1, 10), Point(90.0, 0.9, math.nan, 10), Point(90.0, 0.9, 0.0, 10)):
        assert math.isnan(fit_curve([unknown]).crossing)
        assert fit_curve([unknown, *points(1.5, 0.1)]) == fit_curve(points(1.5, 0.1))


def test_one_level_is_extended_by_the_usual_power():
    found = fit_curve([Point(90.0, 0.9, 0.1, 100)])
    assert found.crossing == pytest.approx(90 * 0.9 ** (-1 / 1.5))


def test_the_error_of_a_crossing_shrinks_with_requests_and_levels_down_to_what_a_host_varies():
    one, near = Point(90.0, 0.85, 0.1, 100), points(1.5, 0.1)
    few, many = ([each._replace(judged=n) for each in near] for n in (50, 5000))
    errors = [fit_curve(each).error for each in ([one], few, near, many)]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 0.1 > errors[2]
    assert HOST / 2 / 1.5 < errors[-1] < 1.5 * HOST / 2 / 1.5  # of four probes, at this power


def test_a_crossing_is_less_sure_where_requests_differ_and_where_misses_come_in_groups():
    usual = fit_curve(points(1.5, 0.1)).error
    assert fit_curve(points(1.5, 0.3)).error > 1.5 * usual
    assert fit_curve(points(1.5, 0.1), effect=9.0).error > 1.5 * usual


def test_without_latencies_near_the_limit_nothing_is_known():
    assert fit_curve([Point(4.0, 0.2, 0.1, 400)]).error == math.inf
