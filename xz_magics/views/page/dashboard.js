/* The live dashboard in the page: draws what the kernel tells of a run, and tells the kernel what a person asks for.

All that a model, a user or a server wrote is set as text: nothing here makes HTML of a string. */

const SIGNS = {
  waiting: "◌",
  running: "▶",
  done: "✓",
  incomplete: "◐",
  refused: "⊘",
  failed: "✗",
  timed_out: "◷",
  cancelled: "■",
  skipped: "○",
  unknown: "?",
};
const STATES = Object.keys(SIGNS); // the first two are those of rows that have not ended
const HEADS = {
  label: "task",
  state: "state",
  model: "model",
  turns: "turns",
  tokens: "tokens",
  cost: "cost",
  time: "time",
  text: "last line",
  stop: "stop",
};
const COLUMNS = Object.keys(HEADS);
const UNSORTED = new Set(["text", "stop"]);
const LEVEL_WORDS = { ok: "", near: "near the limit", over: "limit reached" };
const LEVEL_SIGNS = { ok: "", near: "▲ ", over: "■ " };
const COLLATOR = new Intl.Collator("en", { numeric: true });

const WHOLE_ROWS = 200; // no more than these stand in the page as a whole, where they can be searched and printed
const MARGIN_ROWS = 20; // drawn above and below what can be seen of more
const WIDEST_LABEL = 28;
const WIDEST_STATE = 24;
const TICK_MS = 200;
const SORT_AGAIN_MS = 1_000; // rows that change places more often can be neither read nor clicked
const SPEAK_AGAIN_MS = 15_000; // whoever hears each change hears nothing else
const UNANSWERED_MS = 1_500;

const UNANSWERED =
  "The kernel has not taken up the Stop yet: some kernels serve clicks only when the cell has ended." +
  " Its interrupt button stops the whole run at once.";

export default {
  render({ model, el }) {
    const dashboard = new Dashboard(el, (message) => model.send(message));
    const take = (message) => dashboard.take(message);
    model.on("msg:custom", take);
    model.send({ kind: "hello" });
    return () => {
      model.off("msg:custom", take);
      dashboard.close();
    };
  },
};

class Dashboard {
  constructor(el, send) {
    this.send = send;
    this.head = { note: "starting" };
    this.quotas = [];
    this.over = false;
    this.askedAt = null; // while the kernel has not taken up a Stop
    this.spokenAt = -Infinity;
    this.clock = new Clock();
    this.table = new Table(this.clock, (message) => this.ask(message), () => this.wake());
    this.build(el);
    this.ticking = setInterval(() => this.over || this.wake(), TICK_MS);
    this.wake();
  }

  build(el) {
    this.told = make("span", "xz-told");
    this.filters = make("span", "xz-filters", { role: "group", "aria-label": "show only rows in these states" });
    this.facts = make("span", "xz-facts");
    this.line = make("div", "xz-head", { role: "status", "aria-live": "off", tabindex: "-1" });
    this.alerts = make("div", "xz-alerts", { role: "status" });
    this.line.append(this.told, this.facts, this.filters);
    this.stop = make("button", "xz-button", { type: "button", "aria-label": "Stop all" });
    this.shares = make("div", "xz-shares", { "aria-hidden": "true" });
    this.hint = make("div", "xz-hint", { role: "status" });
    this.bars = make("div", "xz-bars");
    this.spoken = make("div", "xz-unseen", { "aria-live": "polite" });
    const top = make("div", "xz-top");
    top.append(this.line, this.stop);
    // Without the attribute JupyterLab takes Enter and the arrows for its own commands.
    this.root = make("div", "xz-dashboard", { role: "region", "data-lm-suppress-shortcuts": "true" });
    this.root.append(top, this.shares, this.alerts, this.hint, this.bars, this.table.element, this.spoken);
    this.stop.addEventListener("click", () => this.stopAll());
    this.filters.addEventListener("click", ({ target }) => {
      const button = target.closest("button");
      if (button) this.table.filter(button.dataset.state);
    });
    el.append(this.root);
  }

  take(message) {
    if (message.kind === "detail") this.table.detail(message);
    if (message.kind !== "draw") return;
    if (message.reset) this.table.forget();
    if (message.head) {
      this.head = message.head;
      this.clock.set(message.head.now);
    }
    this.quotas = message.bars ?? this.quotas;
    const answered = (message.rows ?? []).map((row) => this.table.merge(row)).some(Boolean);
    this.over = message.over ?? this.over;
    this.stopped = message.stopped ?? this.stopped;
    if (answered || this.over) this.askedAt = null;
    this.wake();
  }

  ask(message) {
    this.send(message);
    if (message.kind === "cancel" || message.kind === "stop") this.askedAt ??= performance.now();
    this.wake();
  }

  stopAll() {
    if (this.over || this.table.allAsked) return;
    this.table.askAll();
    this.ask({ kind: "stop" });
  }

  wake() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.draw();
    });
  }

  close() {
    clearInterval(this.ticking);
    cancelAnimationFrame(this.frame);
    this.frame = 0;
  }

  draw() {
    this.table.draw();
    this.drawHead();
    this.drawBars();
    this.speak();
  }

  drawHead() {
    const { head, over } = this;
    set(this.root, { "aria-label": head.run_id ? `subagents, run ${head.run_id}` : "subagents" });
    setText(this.told, head.total ? `${count(head.ended)} of ${count(head.total)}` : head.note || "starting");
    this.drawFilters();
    setText(this.facts, this.headFacts().map((fact) => ` · ${fact}`).join(""));
    if (over && hasFocus(this.stop)) this.line.focus({ preventScroll: true });
    this.stop.hidden = over;
    setText(this.stop, this.table.allAsked ? "■ Stopping …" : "■ Stop all");
    set(this.stop, { "aria-disabled": this.table.allAsked || null });
    const unanswered = this.askedAt !== null && performance.now() - this.askedAt > UNANSWERED_MS;
    setText(this.hint, unanswered ? UNANSWERED : "");
    setText(this.alerts, (head.alerts ?? []).map((alert) => `! ${alert}`).join(" · "));
    const begun = [...STATES.slice(2), "running"].filter((state) => head.counts?.[state]);
    keep(this.shares, begun.length, () => make("span"), (share, at) => {
      set(share, { "data-state": begun[at] });
      setStyle(share, "width", `${(100 * head.counts[begun[at]]) / head.total}%`);
    });
  }

  /** A button for each state that occurs, with the number of rows that it shows alone when it is pressed. */
  drawFilters() {
    const { counts = {}, nested = {} } = this.head;
    const { filters } = this.table;
    const states = STATES.filter((state) => counts[state] || nested[state] || filters.has(state));
    const button = () => make("button", "xz-filter xz-badge", { type: "button" });
    keep(this.filters, states.length, button, (filter, at) => {
      const state = states[at];
      set(filter, { "data-state": state, "aria-pressed": filters.has(state), title: `show only: ${words(state)}` });
      setText(filter, `${SIGNS[state]} ${count((counts[state] ?? 0) + (nested[state] ?? 0))} ${words(state)}`);
    });
  }

  headFacts() {
    const { head, over } = this;
    if (!head.total) return [];
    const now = this.clock.now();
    const nested = Object.entries(head.nested ?? {});
    const facts = [head.note, over && (this.stopped ? "stopped" : "ended")];
    if (head.started_at) facts.push(seconds(Math.max(0, (head.ended_at ?? now) - head.started_at)));
    const left_s = (head.left_s ?? 0) - (now - head.now);
    if (left_s >= 1 && !over) facts.push(`about ${wholeSeconds(left_s)} left`);
    const pause_s = (head.resumes_at ?? 0) - now;
    if (pause_s > 0 && !over) facts.push(`rate limited, resumes in ${wholeSeconds(pause_s)}`);
    facts.push(`${count(head.tokens)} tokens`);
    if (head.reserved) facts.push(`${count(head.reserved)} reserved`);
    facts.push(head.cost);
    if (head.requests) facts.push(`${count(head.requests)} request${head.requests === 1 ? "" : "s"} under way`);
    if (nested.length) {
      const all = nested.reduce((sum, [, number]) => sum + number, 0);
      const states = nested.map(([state, number]) => `${count(number)} ${words(state)}`);
      facts.push(`${count(all)} nested (${states.join(", ")})`);
    }
    return facts.filter(Boolean);
  }

  drawBars() {
    keep(this.bars, this.quotas.length, makeBar, (bar, at) => {
      const { name, words: amounts, used, reserved } = this.quotas[at];
      const level = used >= 1 ? "over" : used >= 0.8 ? "near" : "ok";
      const [title, track, told] = bar.children;
      const percent = Math.floor(100 * used);
      const spoken = [LEVEL_WORDS[level], amounts].filter(Boolean).join(", ");
      set(bar, { "data-level": level, "aria-label": name, "aria-valuenow": percent, "aria-valuetext": spoken });
      setText(title, name);
      setStyle(track.children[0], "width", `${100 * Math.min(1, used)}%`);
      setStyle(track.children[1], "width", `${100 * Math.max(0, Math.min(1 - used, reserved))}%`);
      setText(told, LEVEL_SIGNS[level] + [LEVEL_WORDS[level], `${percent} %`, amounts].filter(Boolean).join(" · "));
    });
  }

  speak() {
    const { counts, total } = this.head;
    if (!total || (!this.over && performance.now() - this.spokenAt < SPEAK_AGAIN_MS)) return;
    this.spokenAt = performance.now();
    const states = STATES.filter((state) => counts[state]).map((state) => `${counts[state]} ${words(state)}`);
    const what = this.over ? `Run ${this.stopped ? "stopped" : "ended"}` : `${total} subagents`;
    setText(this.spoken, `${what}: ${states.join(", ")}`);
  }
}
