"""The public XSS corpora through every field of every view in the real page: they are read there, and nothing else."""

import inspect
import json
from html import escape
from pathlib import Path

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.slow

CORPORA = Path(__file__).parents[3] / "shared" / "corpora" / "xss"
SOON_MS = 60_000
"""Half a megabyte of hostile text in one page, on a busy machine."""

NOBODY = "http://127.0.0.1:9"
OURS = [
    "<img src=x onerror=\"alert('image')\">",
    "<script>alert('script')</script>",
    "</td></tr></table><svg onload=alert(1)>",
    '"><button onclick=alert(1)>Stop</button>',
    "'><details open ontoggle=alert(1)>",
    "<a data-commandlinker-command=notebook:run-all-cells href=#>run</a>",
    "[link](javascript:alert(1)) ![picture](http://127.0.0.1:9/x.png)",
    r"$\href{javascript:alert(2)}{math}$ \(\href{javascript:alert(3)}{m}\)",
    "<style>@import 'http://127.0.0.1:9/x.css';</style>",
    "<form action=javascript:alert(1)><input type=submit>",
    "<!--<img src=--><img src=x onerror=alert(1)//>",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "javascript:alert(1)//{{7*7}} ${alert(1)} `",
]
INVISIBLE = ["\u202ereversed\u202c", "tag \U000e0041", "\x1b]8;;javascript:alert(1)\x07away\x1b]8;;\x07", "nul \x00"]

THEIRS = """(outputs) => outputs.flatMap((output) => [...output.querySelectorAll("*")].flatMap((element) => {
    const tag = element.localName;
    const isOfPandas = tag === "style" && element.textContent.includes(".dataframe tbody tr th");
    const isTypeset = tag === "math" && element.closest("mjx-container");
    const runs = /^(script|i?frame|object|embed|form|input|base|link|meta|style|audio|video|svg|math|details)$/;
    const found = runs.test(tag) && !isOfPandas && !isTypeset ? [tag] : [];
    for (const { name, value } of element.attributes) {
        const isPicture = tag === "img" && name === "src" && value.startsWith("data:image/png;base64,");
        const isLinkOfThePage = tag === "a" && name === "href" && element.rel === "noopener"
            && element.target === "_blank" && element.closest("pre");
        const leads = /^on|^data-commandlinker|^(src|srcset|href|xlink:href|action|formaction|srcdoc|data|ping|poster)$/;
        const loads = name === "style" && /url\\(|import|expression/i.test(value);
        if ((leads.test(name) && !isPicture && !isLinkOfThePage) || loads) found.push(`${tag} ${name}=${value}`);
    }
    return found;
}))"""
"""By which elements and attributes a text has become a part of the page: whatever runs, loads or leads away.

The page itself makes links of whatever looks like an address in anybody's printed text; one is clicked below.
"""


def filled(texts, running=False, sent=True):
    """Results whose every field that holds text is hostile; made in the kernel. Four texts to a task."""
    from xz_magics import events
    from xz_magics.metrics import Metrics
    from xz_magics.outcomes import Outcomes
    from xz_magics.quotas import Tracker
    from xz_magics.records import STATUSES, Message, Quota, Task, ToolCall, Turn
    from xz_magics.results import Results

    outcomes = Outcomes()
    fours = [(*texts[at : at + 4], *texts[:4])[:4] for at in range(0, len(texts), 4)]
    told = [events.RunStarted(tasks=len(fours), max_concurrent=9, quota=Quota())]
    for at, (one, two, three, four) in enumerate(fours):
        task = Task(index=at, label=f"{one}{at}", model=two, prompt=three, system=four, max_tokens=9)
        label = task.label
        call = ToolCall(id=two, name=three, arguments=four)
        turn = Turn(number=1, attempts=1, max_tokens=9, started_at=1.0, duration_s=1.0, finish_reason=two, error=three)
        calling = [
            events.TaskStarted(label=label, queued_s=0.0),
            events.RequestSent(label=label, turn=1, attempt=1),
            events.TextReceived(label=label, text=three),
            events.ToolCalled(label=label, turn=1, call=call),
        ]
        told += [events.TaskPlanned(task=task), *(calling if sent else [])]
        if running and at % 2:
            continue
        asked = Message(role="assistant", content=two, tool_calls=(call,))
        answered = Message(role="tool", content=four, tool_call_id=one, tool=three, error=at % 3 == 0)
        called = [
            events.ToolAnswered(label=label, turn=1, call_id=two, tool=three, duration_s=0.1, error=at == 0),
            events.TurnEnded(label=label, turn=turn),
        ]
        told += [
            *(called if sent else []),
            events.TaskEnded(
                label=label,
                status=STATUSES[at % len(STATUSES)],
                output=three,
                error=four if at % 2 else None,
                error_type="internal",
                finish_reason=one,
                duration_s=at + 0.5 if sent else None,
                messages=(Message(role="system", content=one), asked, answered),
            ),
        ]
    told += [] if running else [events.RunEnded(duration_s=1.0, reason=texts[0])]
    for number, event in enumerate(told):
        outcomes(events.Stamped(run="hostile", number=number, at=float(number), event=event))
    nobody = {"tracker": Tracker(), "metrics": Metrics(), "stop": print, "cancel": print}
    return Results(outcomes, run_id="hostile", warnings=tuple(texts[:3]), **nobody)


LIVE = """
import asyncio
from pathlib import Path
from xz_magics.views.live import view_here
from xz_magics.views.watched import Watched
from hostile import TEXTS, filled
results = filled(["".join(TEXTS[at:at + 4]) for at in range(0, len(TEXTS), 4)], running=True)
view = view_here()
view.attach(Watched(run_id="hostile", outcomes=results.fold, uses=tuple, stop=print, cancel=print))
while not Path("seen").exists():
    view.draw()
    await asyncio.sleep(0.02)
view.end(results.bundle)
"""
"""A dashboard that stays live until the test has seen it."""


class Alarm:
    """Hears when a script runs, and sees what the page asks for: pictures and pages from anywhere, all else from away."""

    def __init__(self, page, own):
        self.heard = []
        self.seen = []
        self._own = own
        page.on("dialog", self._hear)
        page.on("request", self._see)
        page.on("requestfailed", self._see_again)

    def _hear(self, dialog):
        self.heard.append(dialog.message)
        dialog.dismiss()

    def _see(self, request):
        is_shown = request.resource_type in {"image", "media", "document"} and request.url != self._own
        if not request.url.startswith(("data:", "blob:") if is_shown else ("data:", "blob:", self._own)):
            self.seen.append(request.url)

    def _see_again(self, request):
        """What a document's own policy holds back has not been asked of anybody."""
        if request.failure == "csp":
            self.seen.remove(request.url)

    def assert_silent(self):
        assert (self.heard, self.seen) == ([], [])


def corpus():
    lines = []
    for name in ("payloadbox.txt", "PayloadsAllTheThings.txt"):
        if not (CORPORA / name).exists():
            pytest.skip(f"{CORPORA / name} is not there: the public corpora stand beside the checkout")
        lines += (CORPORA / name).read_text(encoding="utf-8", errors="replace").splitlines()
    return [*OURS, *INVISIBLE, *filter(None, dict.fromkeys(lines))]


def chunks(lines, most_bytes=900):
    """As many lines together as a page shows of one text."""
    chunk = ""
    for line in lines:
        if chunk and len(escape(chunk + line).encode()) > most_bytes:
            yield chunk
            chunk = ""
        chunk += f"{line}\n"
    yield chunk


@pytest.fixture(scope="module")
def texts(lab):
    """The corpora in few texts, which the kernel has, too: `hostile.TEXTS` and `hostile.filled`."""
    texts = list(chunks(corpus()))
    (lab.root / "hostile.json").write_text(json.dumps(texts))
    head = "import json\nfrom pathlib import Path\n\nTEXTS = json.loads(Path('hostile.json').read_text())\n\n\n"
    (lab.root / "hostile.py").write_text(head + inspect.getsource(filled))
    return texts


@pytest.fixture
def opened(open_notebook, lab):
    """A notebook with these cells, which has run, and its alarm."""

    def open_one(*cells):
        notebook = open_notebook(*cells)
        alarm = Alarm(notebook.page, lab.url)
        notebook.run_all()
        return notebook, alarm

    return open_one


def theirs(notebook, *numbers):
    """By the cell's number, so that a failure tells which view it was."""
    return {number: found for number in numbers if (found := notebook.output(number).evaluate_all(THEIRS))}


def shown(chromium, path):
    page = chromium.new_page(color_scheme="dark")
    alarm = Alarm(page, own=path.as_uri())
    page.goto(path.as_uri())
    return page, alarm


def test_pages_pictures_and_frames_hold_the_corpora_as_text(opened, texts):
    notebook, alarm = opened(
        "from IPython.display import HTML\nfrom hostile import TEXTS, filled\nresults = filled(TEXTS)",
        "results",
        "parts = [filled(TEXTS[at:at + 60], sent=False) for at in range(0, len(TEXTS), 60)]\n"
        "HTML(''.join(part._repr_html_() for part in parts))",
        "print(results)",
        "results.plot(by='model')",
        "results.timeline()",
        "import pandas as pd\nfor name in ('rows', 'colwidth'):\n    pd.set_option(f'display.max_{name}', None)",
        "results.all_df[['label', 'output', 'error', 'model', 'finish_reason']]",
        "results.messages_df[::8]",
        "results.turns_df[['label', 'error', 'finish_reason']][::8]",
        "print('javascript://%0aalert`1`')",
    )

    expect(notebook.prompt(11)).to_have_text("[12]:", timeout=SOON_MS)
    for number in (2, 3):
        expect(notebook.output(number).locator("mjx-container")).to_have_count(0)
        for line in OURS:
            expect(notebook.table(number).first).to_contain_text(line)
    expect(notebook.output(5).locator("img")).to_have_count(1)
    expect(notebook.output(6).locator("img")).to_have_count(1)
    expect(notebook.output(8)).to_contain_text(OURS[0])
    assert theirs(notebook, *range(2, 12)) == {}
    alarm.assert_silent()

    context = notebook.page.context
    context.on("dialog", lambda dialog: alarm.heard.append(dialog.message))
    with context.expect_page() as away:
        notebook.output(11).locator("a").click()
    away.value.wait_for_load_state()
    away.value.close()
    alarm.assert_silent()


def test_the_dashboard_holds_the_corpora_as_text_in_every_row_and_in_all_that_a_click_opens(opened, texts, lab):
    notebook, alarm = opened(LIVE, "results")
    dashboard = notebook.output(1).locator(".xz-dashboard")
    rows = dashboard.locator("tr.xz-row")
    expect(rows).to_have_count(-(-len(texts) // 16), timeout=SOON_MS)

    rows.locator("button.xz-open").evaluate_all("(buttons) => buttons.forEach((button) => button.click())")

    expect(dashboard.locator(".xz-detail .xz-part[data-kind=system]")).to_have_count(rows.count(), timeout=SOON_MS)
    expect(dashboard.locator(".xz-detail").first).to_contain_text(OURS[-1])
    expect(rows.first.locator(".xz-label")).to_contain_text(OURS[0])
    assert theirs(notebook, 1) == {}
    alarm.assert_silent()

    (lab.root / "seen").touch()

    expect(notebook.prompt(2)).to_have_text("[3]:", timeout=SOON_MS)
    expect(dashboard).to_have_count(0)
    expect(notebook.table(1)).to_contain_text(OURS[0])
    assert theirs(notebook, 1, 2) == {}
    alarm.assert_silent()


SCRIPTS = """
import json, os
from pathlib import Path
LINES = {lines!r}
calls = [{{"name": LINES[at], "arguments": LINES[at + 1], "id": LINES[at + 2]}} for at in range(3)]
calls.append({{"name": "echo", "arguments": {{"text": LINES[5]}}}})
steps = [
    {{"when": "Call", "answer": LINES[2], "tool_calls": calls}},
    {{"when": "Fail", "status": 400}},
    {{"answer": "\\n".join(LINES), "chunks": 3, "latency_s": 3}},
]
Path("scripts.yaml").write_text(json.dumps({{"scripts": {{name: {{"steps": steps}} for name in LINES}}}}))
os.environ["XZ_MAGICS_CONFIG"] = str(Path("scripts.yaml").resolve())

@xz_magics.tool
def echo(text: str) -> str:
    "Gives the text back."
    raise ValueError(text)
"""


def test_a_cell_shows_what_everybody_in_it_wrote_as_text_while_it_runs_and_afterwards(opened):
    tasks = [
        {
            "label": f"{at} {line[:70]}",
            "model": f"scripted:{line}",
            "system": line,
            "prompt": f"{('Call', 'Fail', 'Say')[at % 3]} {line}",
            "allowed_tools": ["echo"],
        }
        for at, line in enumerate(OURS)
    ]
    notebook, alarm = opened(
        SCRIPTS.format(lines=OURS),
        "%%subagents --out answers --max-concurrent 20\n" + json.dumps({"tasks": tasks}),
        "%subagents status",
        "%subagents show",
        "[answers[0], answers.warnings]",
        "answers.messages_df",
        "get_ipython().run_cell('answers.raise_for_failures()')",
        f"get_ipython().run_cell('%%subagents\\na: {{' + {OURS[0]!r})",
        "get_ipython().run_line_magic('subagents', 'show \"' + answers[0].label + 'x\"')",
        f"from IPython.display import HTML\nHTML('<img src={NOBODY}/x.png onerror=alert(1)><a href=javascript:alert(1)>')",
    )
    dashboard = notebook.output(2).locator(".xz-dashboard")

    expect(dashboard.locator("tr.xz-row[data-state=running]").first).to_be_visible(timeout=SOON_MS)
    for row in dashboard.locator("button.xz-open").all()[:4]:
        row.click()
    expect(dashboard.locator(".xz-detail .xz-part").first).to_be_visible()
    assert theirs(notebook, 2) == {}

    expect(notebook.output(9)).not_to_have_count(0, timeout=SOON_MS)
    for number, said in ((7, "TasksFailed"), (8, "SpecError"), (9, "Error")):
        expect(notebook.cell(number)).to_contain_text(said)
    for line in OURS:
        expect(notebook.table(2)).to_contain_text(line)
    assert theirs(notebook, *range(2, 10)) == {}
    alarm.assert_silent()

    notebook.run(10)  # without us: an alarm that cannot ring proves nothing
    expect(notebook.output(10).locator("a")).to_have_count(1, timeout=SOON_MS)
    assert len(theirs(notebook, 10)[10]) == 3
    assert alarm.heard == ["1"]
    assert set(alarm.seen) == {f"{NOBODY}/x.png"}


def test_an_exported_document_holds_the_corpora_as_text_and_lets_nothing_else_through(chromium, texts, tmp_path):
    path = tmp_path / "results.html"
    filled(texts).to_html(path)
    html = path.read_text(encoding="utf-8")
    attack = (
        f"<script>alert(1)</script><img src={NOBODY}/x.png onerror=alert(2)><link rel=stylesheet href={NOBODY}/x.css>"
    )

    page, alarm = shown(chromium, path)
    dark = page.evaluate("getComputedStyle(document.body).color")
    assert page.locator("body").evaluate_all(THEIRS) == []
    for line in OURS:
        expect(page.locator("table")).to_contain_text(line)
    assert page.locator("img").evaluate_all("(pictures) => pictures.every((one) => one.complete && one.naturalWidth)")
    alarm.assert_silent()
    page.emulate_media(color_scheme="light")
    assert (dark, page.evaluate("getComputedStyle(document.body).color")) == ("rgb(255, 255, 255)", "rgb(0, 0, 0)")

    path.write_text(html.replace("</body>", f"{attack}</body>"), encoding="utf-8")
    shown(chromium, path)[1].assert_silent()

    path.write_text(
        html.replace("Content-Security-Policy", "").replace("</body>", f"{attack}</body>"), encoding="utf-8"
    )
    alarm = shown(chromium, path)[1]
    assert set(alarm.heard) == {"1", "2"}
    assert set(alarm.seen) == {f"{NOBODY}/x.png", f"{NOBODY}/x.css"}
