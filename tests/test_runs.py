"""The runs of a kernel: found by their id, kept while they go on, and a few after it."""

import sys
import threading

import pytest

from xz_magics.errors import XzMagicsError
from xz_magics.metrics import Metrics
from xz_magics.outcomes import Outcomes
from xz_magics.quotas import Tracker
from xz_magics.results import Results
from xz_magics.runs import KEPT, Runs


def results(run_id, *, running=False):
    made = Results(
        Outcomes(), run_id=run_id, tracker=Tracker(), metrics=Metrics(), stop=lambda: None, cancel=lambda _: None
    )
    made.running = running
    return made


def runs_of(*added):
    runs = Runs()
    for one in added:
        runs.add(one)
    return runs


def test_the_current_run_is_the_latest_that_goes_on():
    first, second, ended = results("a", running=True), results("b", running=True), results("c")

    assert runs_of(first, second, ended).current() is second

    second.running = False
    assert runs_of(first, second).current() is first


def test_where_nothing_goes_on_there_is_no_current_run():
    with pytest.raises(XzMagicsError, match="no run is under way") as raised:
        runs_of(results("a")).current()
    assert "xz_magics.last" in raised.value.hint


def test_of_those_that_ended_the_last_few_are_kept_and_all_that_go_on():
    going = results("going", running=True)
    runs = runs_of(going, *(results(f"r{at}") for at in range(KEPT + 3)))

    assert [run.run_id for run in runs.all()] == ["going", *(f"r{at}" for at in range(3, KEPT + 3))]
    assert runs.running() == [going]


def test_threads_may_add_and_look_at_the_same_time():
    runs, faults = Runs(), []
    usual_s = sys.getswitchinterval()

    def work(name):
        try:
            for at in range(500):
                runs.add(results(f"{name}-{at}"))
                runs.running()
                runs.drop(runs.all()[-1])
        except Exception as error:
            faults.append(error)

    threads = [threading.Thread(target=work, args=[name]) for name in range(4)]
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(usual_s)

    assert faults == []


def test_a_run_is_found_by_the_beginning_of_its_id():
    runs = runs_of(results("abc1"), results("abd2"))

    assert runs.find("abd").run_id == "abd2"


@pytest.mark.parametrize(
    ("asked", "message", "mend"),
    [
        ("ab", "'ab' is the beginning of 2 runs", "give more of it: abc1, abd2"),
        ("abx1", "no run of this kernel is 'abx1'", "did you mean abc1?"),
        ("zz", "no run of this kernel is 'zz'", "there are: abc1, abd2"),
    ],
)
def test_a_run_that_is_not_found_is_told_with_those_that_are_there(asked, message, mend):
    with pytest.raises(XzMagicsError) as raised:
        runs_of(results("abc1"), results("abd2")).find(asked)
    assert (raised.value.message, raised.value.hint) == (message, mend)
