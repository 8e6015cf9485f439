"""When a new calibration is put in use."""

from typing import Any

from service.calibrations.verdict import RULE, judge


def report(**sources: tuple[int, float, float]) -> dict[str, Any]:
    """An accuracy report of sources: rows, median error, coverage."""
    return {
        "by_source": {
            name: {"n": rows, "median_ape": error, "coverage_80": coverage}
            for name, (rows, error, coverage) in sources.items()
        }
    }


def test_an_equal_one_is_put_in_use() -> None:
    same = report(a=(100, 0.2, 0.8), b=(100, 0.4, 0.7))
    verdict = judge(same, same)
    assert verdict.better
    assert verdict.before == verdict.after
    assert verdict.comparison()["rule"] == RULE


def test_a_worse_one_is_not() -> None:
    verdict = judge(report(a=(100, 0.20, 0.8)), report(a=(100, 0.21, 0.8)))
    assert not verdict.better
    assert "20.0% before, 21.0% after" in verdict.reason


def test_one_whose_intervals_cover_less_is_not() -> None:
    verdict = judge(report(a=(100, 0.2, 0.8)), report(a=(100, 0.2, 0.7)))
    assert not verdict.better
    assert "coverage" in verdict.reason


def test_sources_that_only_one_of_them_knows_have_no_say() -> None:
    before = report(a=(100, 0.2, 0.8))
    after = report(a=(100, 0.2, 0.8), **{"team:evil": (1000, 9.0, 0.0)})
    assert judge(before, after).better


def test_sources_with_few_rows_have_no_say() -> None:
    before = report(a=(100, 0.2, 0.8), few=(5, 0.1, 0.8))
    assert judge(before, report(a=(100, 0.2, 0.8), few=(5, 9.0, 0.0))).better


def test_the_first_one_is_put_in_use() -> None:
    verdict = judge(None, report(a=(100, 0.2, 0.8)))
    assert verdict.better
    assert verdict.before is None
