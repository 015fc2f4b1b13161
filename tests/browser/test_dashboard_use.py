"""The dashboard in a page of its own: what a person does with it, and what it tells the kernel of that."""

import pytest
from dashboard_page import family
from playwright.sync_api import expect

pytestmark = pytest.mark.slow


def test_a_filter_shows_the_rows_of_its_states_alone(shown):
    shown.tell(*family(), head={"nested": {"failed": 1, "running": 1}}, reset=True)
    running = shown.root.locator(".xz-filter[data-state='running']")
    failed = shown.root.locator(".xz-filter[data-state='failed']")

    running.click()
    failed.click()
    expect(running).to_have_attribute("aria-pressed", "true")
    assert shown.numbers() == [0, 2, 3]
    running.click()
    assert shown.numbers() == [2]
    shown.tell({"n": 2, "state": "done"}, head={"total": 3})
    assert shown.numbers() == []
    expect(shown.root).to_contain_text("no subagent is in this state now")
    failed.click()

    assert shown.numbers() == [0, 2, 3, 1, 4]


def test_sorting_keeps_children_under_their_parents(shown):
    shown.tell(*family(), reset=True)
    orders = []

    for column, times in (("task", 3), ("tokens", 2), ("time", 2)):
        head = shown.root.locator("th", has=shown.page.get_by_role("button", name=column))
        for _ in range(times):
            head.get_by_role("button").click()
            shown.tell()
            orders.append((column, head.get_attribute("aria-sort"), shown.numbers()))

    assert orders == [
        ("task", "ascending", [4, 0, 2, 3, 1]),
        ("task", "descending", [1, 0, 3, 2, 4]),
        ("task", "none", [0, 2, 3, 1, 4]),
        ("tokens", "ascending", [1, 0, 3, 2, 4]),
        ("tokens", "descending", [1, 0, 2, 3, 4]),
        ("time", "ascending", [1, 0, 2, 3, 4]),
        ("time", "descending", [0, 3, 2, 1, 4]),
    ]


def test_an_opened_row_shows_all_that_is_told_of_it_until_it_is_closed(shown):
    shown.tell(*family(), reset=True)
    messages = [
        {"role": "user", "content": "Look for rain.", "calls": []},
        {"role": "assistant", "content": "", "calls": [{"name": "grep", "arguments": '{"pattern": "rain"}'}]},
        {"role": "tool", "tool": "grep", "content": "no such folder", "error": True},
    ]
    opened = shown.root.locator(".xz-detail")

    shown.row(2).locator(".xz-state").click()
    shown.asked()
    shown.tell_detail(
        2, text="half an\n  answer", error="The server said 400.\nAsk it less.", messages=messages, cut="… 9 more"
    )

    expect(opened).to_have_attribute("aria-label", "lead/1 in full")
    assert opened.locator(".xz-part .xz-words").all_inner_texts() == [
        "half an\n  answer", "The server said 400.\nAsk it less.", "Look for rain.", "", "no such folder", "… 9 more",
    ]  # fmt: skip
    expect(opened.locator(".xz-call")).to_have_text(['grep{"pattern": "rain"}'])
    expect(opened).to_contain_text("tool · grep · error")
    shown.tell_detail(2, text="half an\n  answer and more")
    expect(opened.locator(".xz-words")).to_have_text(["half an\n  answer and more"])
    shown.row(2).locator(".xz-state").click()
    expect(opened).to_have_count(0)
    assert shown.asked() == [{"kind": "close", "n": 2}]


def test_a_stop_is_sent_once_and_the_row_says_so_at_once(shown):
    shown.tell(*family(), reset=True)
    shown.asked()
    stop = shown.root.get_by_role("button", name="Stop lead/2")

    stop.click()
    expect(shown.row(3).locator(".xz-state")).to_have_text("▶stopping")
    stop.click(force=True)
    expect(shown.root).to_contain_text("The kernel has not taken up the Stop yet")
    shown.tell({"n": 3, "stopping": True}, head={"total": 3})

    expect(shown.root).not_to_contain_text("The kernel has not taken up the Stop yet")
    assert shown.asked() == [{"kind": "cancel", "n": 3}]
    expect(shown.row(0).locator(".xz-state")).to_have_text("▶running")
    expect(shown.row(1).locator("td button")).to_be_hidden()


def test_stop_all_is_sent_once_and_gone_when_the_run_is_over(shown):
    shown.tell(*family(), reset=True)
    shown.asked()
    stop = shown.root.get_by_role("button", name="Stop all")

    stop.click()
    stop.click(force=True)

    assert shown.asked() == [{"kind": "stop"}]
    expect(shown.row(4).locator(".xz-state")).to_have_text("◌stopping")
    expect(shown.row(1).locator(".xz-state")).to_have_text("✓done")
    shown.tell(head={"total": 3, "counts": {"done": 1, "cancelled": 2}}, over=True, stopped=True)
    expect(stop).to_be_hidden()
    expect(shown.head).to_contain_text("stopped")
    expect(shown.root.locator("[aria-live='polite']")).to_have_text("Run stopped: 1 done, 2 cancelled")


def test_all_can_be_done_with_the_keyboard_and_the_focus_stays_where_it_is(shown):
    shown.tell(*family(), reset=True)
    shown.asked()
    press = shown.page.keyboard.press
    focus = "() => document.activeElement.closest('[data-n]')?.dataset.n + document.activeElement.className"
    for _ in range(12):
        press("Tab")
        if shown.page.evaluate(focus) == "0xz-open":
            break

    press("ArrowDown")
    press("ArrowDown")
    press("Enter")
    assert shown.page.evaluate(focus) == "3xz-open"
    expect(shown.row(3).locator(".xz-open")).to_have_attribute("aria-expanded", "true")
    press("Tab")
    press("Space")
    assert shown.page.evaluate(focus) == "3xz-button"
    assert shown.asked() == [{"kind": "open", "n": 3}, {"kind": "cancel", "n": 3}]
    shown.root.get_by_role("button", name="state", exact=True).evaluate("(button) => button.click()")
    shown.tell({"n": 3, "state": "cancelled", "words": "cancelled"}, head={"total": 3})
    assert shown.page.evaluate(focus) == "3xz-open"
    press("Escape")
    assert shown.asked() == [{"kind": "open", "n": 3}, {"kind": "close", "n": 3}]
    press("End")
    shown.tell(*family(), reset=True)

    assert shown.page.evaluate(focus) == f"{shown.numbers()[-1]}xz-open"
