"""The guard around runs in the foreground: what a SIGINT does, and that everything is as before afterwards."""

import signal
import threading

import pytest

from xz_magics.interrupt import Guards


@pytest.fixture(autouse=True)
def before():
    """A handler of the user's own, which every test must leave in place."""

    def users_own(*_):
        raise KeyboardInterrupt

    held = signal.signal(signal.SIGINT, users_own)
    yield users_own
    assert signal.getsignal(signal.SIGINT) is users_own
    signal.signal(signal.SIGINT, held)


def press_stop():
    signal.raise_signal(signal.SIGINT)


def test_a_stop_reaches_the_run_and_interrupts_nothing_else():
    heard = []

    with Guards().guard() as guard:
        guard.attach(lambda: heard.append("stop"))
        press_stop()
        press_stop()

    assert (guard.stopped, heard) == (True, ["stop", "stop"])


def test_a_stop_before_the_run_knows_what_to_do_is_told_as_soon_as_it_does():
    heard = []

    with Guards().guard() as guard:
        press_stop()
        guard.attach(lambda: heard.append("stop"))

    assert heard == ["stop"]


def test_without_a_stop_nothing_is_told():
    heard = []

    with Guards().guard() as guard:
        guard.attach(lambda: heard.append("stop"))

    assert (guard.stopped, heard) == (False, [])


def test_one_stop_ends_all_runs_in_the_foreground_and_none_that_has_left():
    guards = Guards()

    with guards.guard() as outer:
        with guards.guard() as gone:
            pass
        with guards.guard() as inner:
            press_stop()

    assert (outer.stopped, inner.stopped, gone.stopped) == (True, True, False)


def test_runs_side_by_side_may_leave_in_any_order():
    guards = Guards()
    first, second = guards.guard(), guards.guard()
    one, other = first.__enter__(), second.__enter__()

    first.__exit__(None, None, None)
    press_stop()
    second.__exit__(None, None, None)

    assert (one.stopped, other.stopped) == (False, True)
    with pytest.raises(KeyboardInterrupt):
        press_stop()


def test_an_error_inside_puts_the_users_handler_back_too():
    guards = Guards()

    with pytest.raises(ZeroDivisionError), guards.guard():
        raise ZeroDivisionError

    with pytest.raises(KeyboardInterrupt):
        press_stop()


def test_in_another_thread_signals_are_left_alone():
    seen = []

    def elsewhere():
        with Guards().guard() as guard:
            seen.append((guard.stopped, signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()

    assert seen == [(False, signal.getsignal(signal.SIGINT))]
