"""The dashboard in a page of its own, without Jupyter: the test is the kernel."""

from xz_magics.views.widget import page_sources

START = """async (source) => {
    const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
    const { default: widget } = await import(url);
    const takers = new Set();
    window.asked = [];
    window.tell = (...messages) => {
        for (const message of messages) for (const take of takers) take(message);
        return new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)));
    };
    const model = {
        on: (_, take) => takers.add(take), off: (_, take) => takers.delete(take), send: (told) => asked.push(told),
    };
    window.view = () => {
        const el = document.body.appendChild(document.createElement("div"));
        const end = widget.render({ model, el });
        return () => (end(), el.remove());
    };
    window.endOne = view();
}"""
NOW = 1_763_737_200.0


class DashboardPage:
    """A page with one view of a run; what it asks of the kernel is kept."""

    def __init__(self, browser, **options):
        self.page = browser.new_page(**options)
        self.page.set_default_timeout(10_000)
        self.page.set_content("<!doctype html><title>dashboard</title><body style='margin:0'></body>")
        module, style = page_sources()
        self.page.add_style_tag(content=style)
        self.page.evaluate(START, module)
        self.root = self.page.locator(".xz-dashboard").first
        self.head = self.root.locator(".xz-head")

    def tell(self, *rows, head=None, **more):
        """One flush of the kernel, drawn when this returns."""
        self.page.evaluate("(message) => tell(message)", draw(*rows, head=head, **more))

    def tell_detail(self, n, **detail):
        self.page.evaluate("(message) => tell(message)", {"kind": "detail", "n": n, **detail})

    def asked(self):
        """What the page has sent since this was last asked."""
        return self.page.evaluate("asked.splice(0)")

    def row(self, n):
        return self.root.locator(f"tr.xz-row[data-n='{n}']")

    def numbers(self):
        """The rows as they stand, from the top, once all that has happened is drawn."""
        self.page.evaluate("tell()")
        return self.root.locator("tr.xz-row").evaluate_all("(rows) => rows.map((row) => Number(row.dataset.n))")


def row(n, label=None, **fields):
    return {"n": n, "label": label or f"t{n}", "state": "waiting", "words": "", "model": "openai:test", **fields}


def draw(*rows, head=None, **more):
    counts = {}
    for one in rows:
        if one.get("state") and one.get("under") is None:
            counts[one["state"]] = counts.get(one["state"], 0) + 1
    total = sum(counts.values())
    ended = total - counts.get("waiting", 0) - counts.get("running", 0)
    told = {"run_id": "r1", "note": "", "now": NOW, "counts": counts, "nested": {}, "total": total, "ended": ended}
    told |= {"started_at": NOW - 12.0, "ended_at": None, "left_s": None, "tokens": 0, "reserved": 0, "cost": ""}
    told |= {"requests": 0, "resumes_at": None, **(head or {})}
    return {"kind": "draw", "head": told, "rows": list(rows), **more}


def family():
    return [
        row(0, "lead", state="running", started_at=NOW - 5),
        row(1, "other", state="done", words="done", duration_s=2.0, tokens="9"),
        row(
            2, "lead/1", state="failed", words="failed: bad request", under=0, depth=1, duration_s=1.0, tokens="≈ 1,204"
        ),
        row(3, "lead/2", state="running", under=0, depth=1, started_at=NOW - 3, tokens="20"),
        row(4, "last", state="waiting"),
    ]
