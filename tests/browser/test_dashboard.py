"""The dashboard in a page of its own: what it shows of what a kernel tells, readable, and nothing of it as code."""

import itertools
import re
from pathlib import Path

import pytest
from dashboard_page import NOW, family, row
from playwright.sync_api import expect

from xz_magics.views.wording import COLOURS, SIGNS

pytestmark = pytest.mark.slow

CORPORA = Path(__file__).parents[3] / "shared" / "corpora" / "xss"
HOSTILE = [
    "<img src=x onerror=\"hit=1;alert('image')\">",
    "<script>hit=1;alert('script')</script>",
    "\"><svg onload=alert(1)> 'onfocus=alert(2) autofocus",
    "</td></table><iframe srcdoc='<script>parent.hit=1</script>'></iframe>",
    "<link rel=stylesheet href=https://example.com/a.css><base href=https://example.com>",
    "javascript:alert(1)",
    "constructor",
    "__proto__",
]
FOREIGN = "script, iframe, img, svg, link, base, object, embed, form, input, a, style, meta, video, audio, math"
OWN = {"DIV", "SPAN", "BUTTON", "TABLE", "THEAD", "TBODY", "TR", "TH", "TD", "BDI", "B", "CODE"}
ATTRIBUTES = re.compile(r"class|role|type|title|tabindex|style|dir|scope|hidden|(aria|data)-[a-z-]+")


def test_a_view_says_hello_and_shows_what_it_is_told(shown):
    bars = [{"name": "run tokens", "words": "400 of 1,000 used, 600 left", "used": 0.4, "reserved": 0.1}]
    head = {"tokens": 1204, "reserved": 400, "cost": "$0.0012", "requests": 2, "left_s": 90.0, "resumes_at": NOW + 30}

    shown.tell(*family(), head={**head, "nested": {"failed": 1, "running": 1}}, bars=bars, reset=True)

    assert shown.asked() == [{"kind": "hello"}]
    expect(shown.root).to_have_attribute("aria-label", "subagents, run r1")
    facts = (
        r"1 of 3 · [\d.]+ s · about 1 min \d+ s left · rate limited, resumes in \d+ s · 1,204 tokens · 400 reserved · "
    )
    facts += r"\$0\.0012 · 2 requests under way · 2 nested \(1 failed, 1 running\)"
    expect(shown.head).to_have_text(re.compile(facts))
    expect(shown.root.get_by_role("meter", name="run tokens")).to_have_attribute("aria-valuenow", "40")
    assert shown.numbers() == [0, 2, 3, 1, 4]
    expect(shown.row(2).locator(".xz-state")).to_have_text("✗failed: bad request")
    expect(shown.row(1).locator(".xz-time")).to_have_text("2.0 s")


def test_alerts_stand_in_a_line_of_their_own_where_there_are_any(shown):
    shown.tell(*family(), reset=True)
    line = shown.root.locator(".xz-alerts")
    expect(line).to_be_hidden()

    shown.tell(head={"alerts": ["more than 80 % of run max_total_tokens is used", "<img src=x>"], "total": 3})

    expect(line).to_be_visible()
    expect(line).to_have_text("! more than 80 % of run max_total_tokens is used · ! <img src=x>")
    expect(line).to_have_attribute("role", "status")


def test_a_change_is_drawn_where_it_belongs_and_nothing_else_is_made_anew(shown):
    shown.tell(*family(), reset=True)
    shown.page.evaluate("""() => {
        window.changes = [];
        const watcher = new MutationObserver((seen) => changes.push(...seen));
        watcher.observe(document.querySelector("tbody"), { childList: true, subtree: true, characterData: true });
        window.first = document.querySelector("tr[data-n='1']");
    }""")

    shown.tell({"n": 3, "text": "It rains", "turns": 2}, {"n": 1, "text": "so"})
    shown.tell({"n": 3, "text": "It rains cats"})

    expect(shown.row(3).locator(".xz-text")).to_have_text("It rains cats")
    expect(shown.row(3).locator(".xz-turns")).to_have_text("2")
    expect(shown.row(3)).to_contain_text("lead/2")
    assert shown.page.evaluate("first === document.querySelector(\"tr[data-n='1']\")")
    changed = shown.page.evaluate("""() => changes.map(({ target: one }) => one.nodeType === 3 ? one.parentElement : one).map((one) =>
        (one.closest("tr")?.dataset.n ?? "") + (one.closest("td")?.className ?? "outside"))""")
    assert set(changed) - {"0xz-time", "3xz-time"} == {"3xz-text", "3xz-turns", "1xz-text"}


def test_what_runs_is_counted_on_by_the_kernels_clock(shown):
    shown.tell(row(0, state="running", started_at=NOW - 5), reset=True)
    first = float(shown.row(0).locator(".xz-time").inner_text().removesuffix(" s"))

    expect(shown.row(0).locator(".xz-time")).not_to_have_text(f"{first:.1f} s")

    later = float(shown.row(0).locator(".xz-time").inner_text().removesuffix(" s"))
    assert 4.5 < first < later < 60


def test_signs_and_colours_are_those_of_every_view(shown):
    rows = [row(n, state=status, words=status) for n, status in enumerate(SIGNS)]

    shown.tell(*rows, reset=True)

    for n, status in enumerate(SIGNS):
        expect(shown.row(n).locator(".xz-state")).to_have_text(f"{SIGNS[status]}{status}")
        colour = shown.row(n).evaluate("(row) => getComputedStyle(row).getPropertyValue('--xz-colour')")
        assert colour == COLOURS[status]


def test_a_task_of_which_nobody_knows_has_its_filter_its_share_and_its_place_after_all_others(shown):
    shown.tell(row(0, state="unknown", words="unknown"), row(1, state="skipped", words="skipped"), reset=True)

    shown.root.locator("th").get_by_role("button", name="state").click()

    assert shown.numbers() == [1, 0]
    expect(shown.root.locator(".xz-filter[data-state='unknown']")).to_have_text("? 1 unknown")
    expect(shown.root.locator(".xz-shares [data-state='unknown']")).to_have_attribute("style", "width: 50%;")


def test_a_limit_that_is_near_or_reached_is_told_by_colour_and_in_words(shown):
    used = (0.5, 0.8, 1.0)
    shown.tell(
        *family(), bars=[{"name": f"at {share}", "words": "x used", "used": share, "reserved": 0} for share in used]
    )

    bars = shown.root.locator(".xz-bar")

    assert bars.evaluate_all("(bars) => bars.map((bar) => bar.dataset.level)") == ["ok", "near", "over"]
    expect(bars).to_contain_text(["50 % · x used", "near the limit · 80 %", "limit reached · 100 %"])
    assert bars.nth(1).get_attribute("aria-valuetext") == "near the limit, x used"
    fills = bars.locator(".xz-share:first-child").evaluate_all(
        "(all) => all.map((one) => getComputedStyle(one).backgroundColor)"
    )
    assert len(set(fills)) == 3


def test_ten_thousand_rows_are_drawn_as_far_as_they_can_be_seen(shown):
    shown.page.evaluate(
        """(now) => tell({ kind: "draw", reset: true, head: { total: 10000, now, counts: {} }, rows:
        Array.from({ length: 10000 }, (_, n) => ({ n, label: `t${n}`, state: "waiting", model: "m" })) })""",
        NOW,
    )
    scroll = shown.root.locator(".xz-scroll")

    assert len(shown.numbers()) < 100
    scroll.evaluate("(scroll) => { scroll.scrollTop = scroll.scrollHeight }")
    expect(shown.row(9_999)).to_be_in_viewport()
    shown.row(9_999).locator(".xz-open").focus()
    scroll.evaluate("(scroll) => { scroll.scrollTop = 0 }")
    expect(shown.row(0)).to_be_in_viewport()

    assert shown.row(9_999).locator(".xz-open").evaluate("(open) => open === document.activeElement")
    expect(shown.row(9_999)).to_have_attribute("aria-rowindex", "10001")
    shown.page.keyboard.press("ArrowUp")
    expect(shown.row(9_998)).to_be_in_viewport()
    expect(shown.row(0)).to_have_count(1 if 0 in shown.numbers() else 0)


def test_two_views_of_a_run_show_the_same_and_one_may_go(shown):
    shown.tell(*family(), reset=True)
    shown.row(0).locator(".xz-open").click()
    shown.asked()
    shown.page.evaluate("() => { window.endTwo = view() }")
    shown.tell(*[one | {"text": "anew"} for one in family()], reset=True)
    views = shown.page.locator(".xz-dashboard")

    assert shown.asked() == [{"kind": "hello"}, {"kind": "open", "n": 0}]
    for view in views.all():
        expect(view.locator(".xz-text").nth(1)).to_have_text("anew")
    shown.page.evaluate("endOne()")
    shown.tell({"n": 0, "text": "still"}, head={"total": 3})
    expect(views).to_have_count(1)
    expect(views.locator("td.xz-text").first).to_have_text("still")


def hostile_lines():
    found = [*HOSTILE, *(line for path in sorted(CORPORA.glob("*.txt")) for line in path.read_text().splitlines())]
    return list(dict.fromkeys(line.strip() for line in found if line.strip()))


def test_an_opened_row_tells_what_each_turn_came_to(shown):
    shown.tell(*family(), head={"cost": "$0.1200 of about $0.40"}, reset=True)
    turns = [
        {"turn": "1 (3 tries)", "in": "1,204", "cached": "800", "out": "312", "cost": "$0.0003", "time": "1.2 s"},
        {"turn": "2", "in": "≈ 12,041", "cached": "", "out": "≈ 300", "cost": "<b>unpriced</b>", "time": "12.2 s"},
    ]

    shown.row(2).locator(".xz-state").click()
    shown.tell_detail(2, text="an answer", turns=turns[:1])
    shown.tell_detail(2, text="an answer", turns=turns)

    expect(shown.head).to_contain_text("· $0.1200 of about $0.40")
    spent = shown.root.locator(".xz-detail").get_by_role("table")
    expect(spent.get_by_role("columnheader")).to_have_text(["turn", "in", "cached", "out", "cost", "time"])
    expect(spent.get_by_role("cell")).to_have_text([cell for turn in turns for cell in turn.values()])
    ends = spent.evaluate("(all) => [...all.children].map((row) => row.children[1].getBoundingClientRect().right)")
    assert len(set(ends)) == 1
    shown.tell_detail(2, text="an answer")
    expect(spent).to_have_count(0)


def test_hostile_text_in_every_field_is_text(shown):
    lines = hostile_lines()
    dialogs, requests, page = [], [], shown.page
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda request: requests.append(request.url))
    fields = ("label", "model", "words", "tokens", "cost", "text", "note", "turns")
    states = itertools.cycle(["running", "done", "failed"])

    for at in range(0, len(lines), 200):
        some = lines[at : at + 200]
        texts = [{"n": n, "state": next(states)} | dict.fromkeys(fields, line) for n, line in enumerate(some)]
        head = {"note": some[0], "cost": some[-1], "run_id": some[0], "total": 3, "counts": {some[0]: 1, "done": 2}}
        bars = [{"name": line, "words": line, "used": 0.9, "reserved": 0.0} for line in some[:10]]
        shown.tell(*texts, head=head, bars=bars, reset=True)
        if at == 0:
            shown.row(0).locator(".xz-open").click()
        calls = [[{"name": line, "arguments": line}] for line in some]
        messages = [
            {"role": line, "content": line, "tool": line, "calls": call, "error": True}
            for line, call in zip(some, calls, strict=True)
        ]
        turns = [{line: line for line in some}]
        shown.tell_detail(0, text=some[0], error=some[-1], turns=turns, messages=messages, cut=some[0])
        texts_shown = shown.root.locator("td.xz-text > span:last-child").evaluate_all(
            "(all) => all.map((one) => one.textContent)"
        )
        assert texts_shown[: len(some)] == some

    tags = page.evaluate("() => [...document.querySelectorAll('.xz-dashboard *')].map((one) => one.tagName)")
    names = page.evaluate(
        "() => [...document.querySelectorAll('.xz-dashboard *')].flatMap((one) => one.getAttributeNames())"
    )
    assert set(tags) == OWN
    assert [name for name in set(names) if not ATTRIBUTES.fullmatch(name)] == []
    assert page.evaluate("window.hit") is None
    assert dialogs == requests == []


CONTRASTS = """() => {
    const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
    const lightness = (colours) => {
        canvas.clearRect(0, 0, 1, 1);
        for (const colour of colours) { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); }
        const [red, green, blue] = [...canvas.getImageData(0, 0, 1, 1).data].map((part) =>
            part / 255 <= 0.03928 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4);
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
    };
    const found = [];
    for (const one of document.querySelectorAll(".xz-dashboard *")) {
        if (![...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim()) || !one.checkVisibility()) continue;
        const backs = [];
        for (let up = one; up; up = up.parentElement) backs.unshift(getComputedStyle(up).backgroundColor);
        const [ink, paper] = [lightness([...backs, getComputedStyle(one).color]), lightness(backs)];
        found.push([(Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05), one.className, one.textContent]);
    }
    return found.sort(([one], [other]) => one - other);
}"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_all_text_can_be_read(dashboard, theme):
    shown = dashboard(color_scheme=theme)
    states = ["waiting", "running", *SIGNS]
    rows = [
        row(n, state=state, words=state, note="calls grep", text="so", depth=n % 2) for n, state in enumerate(states)
    ]
    bars = [{"name": "run", "words": "used", "used": used, "reserved": 0.0} for used in (0.1, 0.9, 1.0)]
    shown.tell(*rows, bars=bars, reset=True)
    shown.row(0).locator(".xz-open").click()
    shown.tell_detail(
        0,
        text="an answer",
        error="an error",
        turns=[{"turn": "1", "cost": "$0.0003"}],
        cut="more",
        messages=[{"role": "user", "content": "a question"}],
    )

    contrasts = shown.page.evaluate(CONTRASTS)

    assert len(contrasts) > 80
    assert contrasts[0][0] >= 4.5, contrasts[0]
    paper = shown.root.evaluate("(root) => getComputedStyle(root).backgroundColor")
    assert paper == ("rgb(255, 255, 255)" if theme == "light" else "rgb(17, 17, 17)")


def test_a_narrow_page_is_not_scrolled_sideways_and_keeps_what_is_needed(dashboard):
    shown = dashboard(viewport={"width": 400, "height": 800})
    shown.tell(*[one | {"text": "It rains " * 9, "cost": "$0.10", "turns": 2} for one in family()], reset=True)

    for name in ("label", "state", "time", "text"):
        expect(shown.row(0).locator(f".xz-{name}")).to_be_in_viewport(ratio=1)
    expect(shown.root.get_by_role("button", name="Stop lead", exact=True)).to_be_in_viewport(ratio=1)
    for name in ("model", "turns", "tokens", "cost"):
        expect(shown.row(0).locator(f".xz-{name}")).to_be_hidden()
    for selector in ("html", ".xz-scroll"):
        assert shown.page.locator(selector).evaluate("(one) => one.scrollWidth <= one.clientWidth")
