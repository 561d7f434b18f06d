"""The pool of limited processes, which answer calls in parallel."""

from limited_functions import measure, misbehave

from kib.support.limited_pool import LimitedPool, worker_count


def test_results_keep_their_order():
    """Several processes share the calls, and the results have the order of the groups and of the values in a group."""
    pool = LimitedPool(measure, 1024, workers=2)
    groups = [["a", "b"], [], ["c"], ["d", "e", "f"], ["g"]]
    results = list(pool.call_each(groups, 60))
    assert [[reply["text"] for reply in group] for group in results] == groups
    assert len({reply["process"] for group in results for reply in group}) <= 2


def test_a_limit_stops_only_one_call():
    """A call that exceeds a limit is reported in its place, and all other calls return their results."""
    results = list(LimitedPool(misbehave, 1024, workers=2).call_each([["a", "crash"], ["b"]], 60))
    assert [list(map(str, group)) for group in results] == [["a", "crashes its process (7)"], ["b"]]


def test_stopping_early_ends_running_calls():
    """If the caller stops reading results, calls that would never end are terminated."""
    results = LimitedPool(misbehave, 1024, workers=2).call_each([["a"], ["power"], ["power"], ["b"]], 100_000)
    assert next(results) == ["a"]
    results.close()


def test_number_of_processes():
    """There is at least one process, even if one process may use all of the memory."""
    assert worker_count(1 << 40) == 1
    assert 1 <= worker_count(1) <= 8
