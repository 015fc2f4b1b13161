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
    this.root.append(top, this.shares, this.hint, this.bars, this.table.element, this.spoken);
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

/** The kernel's clock, as far as the page can tell: what runs is counted on by it between two messages. */
class Clock {
  ahead_s = 0;

  set(now) {
    this.ahead_s = now - Date.now() / 1000;
  }

  now() {
    return Date.now() / 1000 + this.ahead_s;
  }
}

/** The rows. Of many, only those that can be seen stand in the page, and the one that the keyboard is at. */
class Table {
  rows = new Map(); // what the kernel told, by the row's number
  drawn = new Map(); // those that stand in the page
  opened = new Map(); // the details that a person reads
  filters = new Set();
  sorting = null;
  order = []; // numbers of rows, as they stand
  places = new Map(); // where in the order a row is
  arranged = false;
  arrangedAt = 0;
  active = null; // the row that the Tab key comes to
  age = 0;
  allAsked = false;
  longest_s = 1;
  widestLabel = 8;
  widestState = 9;
  tells = { model: false, turns: false, cost: false };

  constructor(clock, ask, wake) {
    this.clock = clock;
    this.ask = ask;
    this.wake = wake;
    this.list = make("table", "xz-rows", { role: "table", "aria-label": "subagents" });
    this.heads = COLUMNS.map((name) => this.makeHead(name));
    const [head, line] = [make("thead", "", { role: "rowgroup" }), make("tr", "", { role: "row" })];
    line.append(...this.heads);
    head.append(line);
    this.head = head;
    this.body = make("tbody", "", { role: "rowgroup" });
    this.gaps = [0, 1, 2].map(() => make("tr", "xz-gap", { role: "presentation" }));
    this.none = make("div", "xz-none");
    this.list.append(head, this.body);
    this.element = make("div", "xz-scroll");
    this.element.append(this.list, this.none);
    this.element.addEventListener("scroll", wake, { passive: true });
    this.body.addEventListener("click", (event) => this.click(event));
    this.body.addEventListener("keydown", (event) => this.press(event));
    this.body.addEventListener("focusin", ({ target }) => this.activate(numberOf(target)));
  }

  makeHead(name) {
    const head = make("th", `xz-${name}`, { role: "columnheader", scope: "col" });
    if (UNSORTED.has(name)) {
      head.append(make("span", name === "stop" ? "xz-unseen" : "", {}, HEADS[name]));
      return head;
    }
    const button = make("button", "xz-sort", { type: "button" }, HEADS[name]);
    button.addEventListener("click", () => this.sort(name));
    set(head, { "aria-sort": "none" });
    head.append(button);
    return head;
  }

  /** The rows are told anew. What was told before is shown until then, so that nobody loses their place. */
  forget() {
    this.age += 1;
    for (const n of this.opened.keys()) this.ask({ kind: "open", n });
  }

  /** Whether this is the kernel's answer to a Stop. */
  merge(change) {
    const old = this.rows.get(change.n);
    const known = old?.age === this.age ? old : { age: this.age, asked: old?.asked, state: "waiting", label: "" };
    const row = { ...known, ...change };
    this.rows.set(row.n, row);
    if (!old || old.under !== row.under || (old.state !== row.state && this.filters.size)) this.arranged = false;
    if (hasEnded(row)) this.longest_s = Math.max(this.longest_s, row.duration_s ?? 0);
    // Another view of the same run may have closed it for all.
    if (old && hasEnded(row) && !hasEnded(old) && this.opened.has(row.n)) this.ask({ kind: "open", n: row.n });
    this.widestLabel = Math.max(this.widestLabel, Math.min(WIDEST_LABEL, row.label.length + 2 * (row.depth ?? 0)));
    this.widestState = Math.max(this.widestState, Math.min(WIDEST_STATE, (row.words ?? "").length));
    this.model ??= row.model;
    this.tells.model ||= row.model !== this.model;
    this.tells.turns ||= row.turns > 1;
    this.tells.cost ||= String(row.cost).includes("$");
    return Boolean(row.asked && (row.stopping || hasEnded(row)));
  }

  detail(message) {
    const opened = this.opened.get(message.n);
    if (!opened) return;
    opened.told = message;
    this.wake();
  }

  askAll() {
    this.allAsked = true;
    for (const row of this.rows.values()) row.asked = !hasEnded(row);
  }

  filter(state) {
    if (!this.filters.delete(state)) this.filters.add(state);
    this.arranged = false;
    this.wake();
  }

  /** Up, then down, then back to the order as written. */
  sort(name) {
    if (this.sorting?.name !== name) this.sorting = { name, down: false };
    else this.sorting = this.sorting.down ? null : { name, down: true };
    for (const [at, head] of this.heads.entries()) {
      if (UNSORTED.has(COLUMNS[at])) continue;
      const way = this.sorting?.down ? "descending" : "ascending";
      set(head, { "aria-sort": this.sorting?.name === COLUMNS[at] ? way : "none" });
    }
    this.arranged = false;
    this.wake();
  }

  click({ target, detail: clicks }) {
    const n = numberOf(target);
    if (n === null || target.closest(".xz-detail")) return;
    if (target.closest("td.xz-stop")) {
      if (target.closest("button")) this.cancel(this.rows.get(n));
      return;
    }
    if (clicks && !getSelection().isCollapsed) return; // a person marks words
    this.toggle(n);
  }

  cancel(row) {
    if (row.asked || row.stopping) return;
    row.asked = true;
    this.ask({ kind: "cancel", n: row.n });
  }

  toggle(n) {
    if (this.opened.delete(n)) {
      this.ask({ kind: "close", n });
      return;
    }
    this.opened.set(n, new Detail(this.rows.get(n)));
    this.ask({ kind: "open", n });
  }

  press(event) {
    const at = this.places.get(this.active);
    if (at === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === "Escape" && this.opened.has(this.active)) {
      event.preventDefault();
      this.drawn.get(this.active).open.focus();
      this.toggle(this.active);
      return;
    }
    const page = Math.max(1, Math.floor(this.element.clientHeight / this.rowHeight) - 2);
    const steps = { ArrowUp: -1, ArrowDown: 1, PageUp: -page, PageDown: page, Home: -at, End: this.order.length };
    if (!(event.key in steps) || event.target.closest(".xz-detail")) return;
    event.preventDefault();
    this.activate(this.order[Math.max(0, Math.min(this.order.length - 1, at + steps[event.key]))]);
    this.show(this.places.get(this.active));
    this.draw();
    this.drawn.get(this.active).open.focus({ preventScroll: true });
  }

  /** One row is a stop of the Tab key; the arrows go from row to row. */
  activate(n) {
    if (n === null || n === this.active) return;
    this.active = n;
    this.wake();
  }

  show(place) {
    const top = this.topOf(place);
    const room = this.element.clientHeight - this.head.offsetHeight - this.rowHeight;
    this.element.scrollTop = Math.min(top, Math.max(this.element.scrollTop, top - room));
  }

  draw() {
    this.measure();
    if (!this.arranged || (this.sorting && performance.now() - this.arrangedAt > SORT_AGAIN_MS)) this.arrange();
    const shown = this.shown();
    const focus = focused(this.element);
    this.place(shown);
    for (const name of Object.keys(this.tells)) set(this.list, { [`data-${name}`]: this.tells[name] || null });
    setStyle(this.list, "--xz-label-width", `${this.widestLabel + 3}ch`);
    setStyle(this.list, "--xz-state-width", `${this.widestState + 4}ch`);
    const now = this.clock.now();
    const rows = shown.map((place) => this.rows.get(this.order[place]));
    const longest_s = rows.reduce((most, row) => Math.max(most, elapsed_s(row, now) ?? 0), this.longest_s);
    for (const [at, row] of rows.entries()) {
      set(this.drawn.get(row.n).element, { "aria-rowindex": shown[at] + 2 });
      this.drawn.get(row.n).draw(row, { isOpen: this.opened.has(row.n), isActive: row.n === this.active });
      this.drawn.get(row.n).drawTime(elapsed_s(row, now), longest_s, hasEnded(row));
      this.opened.get(row.n)?.draw();
    }
    if (focus?.isConnected && !hasFocus(focus)) focus.focus({ preventScroll: true });
  }

  /** Read before anything is written, so that the page lays itself out once a frame. */
  measure() {
    const row = this.drawn.values().next().value;
    this.rowHeight = row?.element.offsetHeight || this.rowHeight || 28;
    for (const opened of this.opened.values()) opened.height = opened.element.offsetHeight || opened.height;
  }

  /** As written or sorted, children under their parents, only what the filters let through. */
  arrange() {
    this.arranged = true;
    this.arrangedAt = performance.now();
    const families = new Map();
    for (const row of this.rows.values()) {
      const under = this.rows.has(row.under) ? row.under : null;
      if (!families.has(under)) families.set(under, []);
      families.get(under).push(row);
    }
    const compare = this.sorting ? comparing(this.sorting, this.clock.now()) : (one, other) => one.n - other.n;
    this.order = [];
    const follow = (under) => {
      for (const row of (families.get(under) ?? []).sort(compare)) {
        if (!this.filters.size || this.filters.has(row.state)) this.order.push(row.n);
        follow(row.n);
      }
    };
    follow(null);
    this.places = new Map(this.order.map((n, place) => [n, place]));
    if (!this.places.has(this.active)) this.active = this.order[0] ?? null;
    set(this.list, { "aria-rowcount": this.order.length + 1 });
    setText(this.none, this.rows.size && !this.order.length ? "no subagent is in this state now" : "");
  }

  /** The places of the rows that are to stand in the page. */
  shown() {
    const { length } = this.order;
    const { scrollTop, clientHeight } = this.element;
    const isLong = length > WHOLE_ROWS;
    const first = isLong ? Math.max(0, this.placeAt(scrollTop) - MARGIN_ROWS) : 0;
    const last = isLong ? Math.min(length, this.placeAt(scrollTop + clientHeight) + MARGIN_ROWS) : length;
    const shown = Array.from({ length: Math.max(0, last - first) }, (_, at) => first + at);
    const active = this.places.get(this.active);
    if (active < first) shown.unshift(active);
    if (active >= last) shown.push(active);
    return shown;
  }

  topOf(place) {
    let top = place * this.rowHeight;
    for (const [n, { height }] of this.opened) if (this.places.get(n) < place) top += height;
    return top;
  }

  placeAt(top) {
    let [low, high] = [0, this.order.length];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.topOf(middle) <= top) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  /** What is shown already stays as it is, so that neither the focus nor what is marked is lost. */
  place(shown) {
    const elements = [];
    const gaps = [...this.gaps];
    let next = 0;
    for (const place of [...shown, this.order.length]) {
      if (place > next) {
        const gap = gaps.pop();
        setStyle(gap, "height", `${this.topOf(place) - this.topOf(next)}px`);
        elements.push(gap);
      }
      next = place + 1;
      const n = this.order[place];
      if (n === undefined) break;
      if (!this.drawn.has(n)) this.drawn.set(n, new Row(n));
      elements.push(this.drawn.get(n).element);
      if (this.opened.has(n)) elements.push(this.opened.get(n).element);
    }
    const staying = new Set(elements);
    for (const element of [...this.body.children]) if (!staying.has(element)) element.remove();
    for (const [n, { element }] of this.drawn) if (!staying.has(element)) this.drawn.delete(n);
    let here = this.body.firstChild;
    for (const element of elements) {
      if (element === here) here = here.nextSibling;
      else this.body.insertBefore(element, here);
    }
  }
}

/** One row as it stands in the page. */
class Row {
  constructor(n) {
    this.element = make("tr", "xz-row", { role: "row", "data-n": n });
    this.cells = Object.fromEntries(COLUMNS.map((name) => [name, makeCell(name)]));
    this.element.append(...Object.values(this.cells));
    this.open = make("button", "xz-open", { type: "button" });
    this.caret = make("span", "xz-caret", { "aria-hidden": "true" });
    this.label = make("bdi");
    this.open.append(this.caret, this.label);
    this.sign = make("span", "", { "aria-hidden": "true" });
    this.words = make("span");
    const badge = make("span", "xz-badge");
    badge.append(this.sign, this.words);
    this.duration = make("span");
    this.bar = make("span", "xz-share");
    const track = make("span", "xz-track", { "aria-hidden": "true" });
    track.append(this.bar);
    this.note = make("span", "xz-note");
    this.text = make("span", "", { dir: "auto" });
    this.stop = make("button", "xz-button", { type: "button" }, "■");
    this.cells.label.append(this.open);
    this.cells.state.append(badge);
    this.cells.time.append(this.duration, track);
    this.cells.text.append(this.note, this.text);
    this.cells.stop.append(this.stop);
  }

  draw(row, { isOpen, isActive }) {
    const { cells } = this;
    const ended = hasEnded(row);
    const stopping = !ended && (row.asked || row.stopping);
    const state = stopping ? "stopping" : (row.words || words(row.state));
    set(this.element, { "data-state": row.state, "data-depth": row.depth || null, "data-stopping": stopping || null });
    setStyle(this.element, "--xz-depth", row.depth ?? 0);
    set(this.open, { "aria-expanded": isOpen, tabindex: isActive ? 0 : -1, title: row.label });
    setText(this.caret, isOpen ? "▾" : "▸");
    setText(this.label, row.label);
    setText(this.sign, SIGNS[row.state]);
    setText(this.words, state);
    set(cells.state, { title: state });
    set(cells.model, { title: row.model });
    for (const name of ["model", "turns", "tokens", "cost"]) setText(cells[name], row[name] || "");
    setText(this.note, ended ? "" : row.note);
    setText(this.text, row.text);
    if (ended && hasFocus(this.stop)) this.open.focus({ preventScroll: true });
    this.stop.hidden = ended;
    const title = `Stop ${row.label}`;
    set(this.stop, { "aria-label": title, title, tabindex: isActive ? 0 : -1, "aria-disabled": stopping || null });
  }

  drawTime(time_s, longest_s, ended) {
    const told = ended ? seconds : liveSeconds;
    setText(this.duration, time_s === null ? "" : told(time_s));
    this.bar.parentElement.hidden = time_s === null;
    setStyle(this.bar, "width", `${time_s === null ? 0 : Math.ceil((100 * time_s) / longest_s)}%`);
  }
}

/** All of one subagent: its whole text, its error with the mend, its conversation with the tools that it called. */
class Detail {
  height = 0;
  told = null;
  drawn = null;

  constructor({ label, n }) {
    this.element = make("tr", "xz-more", { role: "row", "data-of": n });
    const cell = make("td", "", { role: "cell" });
    this.box = make("div", "xz-detail", { role: "region", "aria-label": `${label} in full`, tabindex: "0" }, "…");
    cell.append(this.box);
    this.element.append(cell);
  }

  draw() {
    if (this.told === null || this.told === this.drawn) return;
    if (this.drawn === null) this.box.replaceChildren();
    const { box, told } = this;
    const followed = box.scrollTop > 0 && box.scrollTop + box.clientHeight > box.scrollHeight - 8;
    this.drawn = told;
    const parts = detailParts(told);
    keep(box, parts.length, makePart, (part, at) => {
      const { kind, title, text, calls = [] } = parts[at];
      set(part, { "data-kind": kind });
      setText(part.children[0], title);
      setText(part.children[1], text);
      keep(part.children[2], calls.length, makeCall, (call, place) => {
        setText(call.children[0], calls[place].name);
        setText(call.children[1], plain(calls[place].arguments));
      });
    });
    if (followed) box.scrollTop = box.scrollHeight;
  }
}

/** The answer and the error first, for these are looked for; then how it came to them. */
function detailParts({ text, error, messages = [], cut }) {
  const parts = [];
  if (text) parts.push({ kind: "text", title: "answer", text });
  if (error) parts.push({ kind: "error", title: "error", text: error });
  const last = messages.at(-1);
  const isToldAbove = text && last?.role === "assistant" && last.content === text && !last.calls?.length;
  for (const { role, content, tool, calls, error: failed } of isToldAbove ? messages.slice(0, -1) : messages) {
    const title = [role, tool, failed && "error"].filter(Boolean).join(" · ");
    parts.push({ kind: failed ? "error" : role, title, text: content, calls: calls ?? [] });
  }
  if (cut) parts.push({ kind: "cut", title: "", text: cut });
  return parts.length ? parts : [{ kind: "cut", title: "", text: "nothing has come yet" }];
}

function makeBar() {
  const bar = make("div", "xz-bar", { role: "meter", "aria-valuemin": 0, "aria-valuemax": 100 });
  const track = make("span", "xz-track");
  track.append(make("span", "xz-share"), make("span", "xz-share xz-reserved"));
  bar.append(make("span", "xz-name"), track, make("span", "xz-words"));
  return bar;
}

function makeCell(name) {
  return name === "label"
    ? make("th", "xz-label", { role: "rowheader", scope: "row" })
    : make("td", `xz-${name}`, { role: "cell" });
}

function makePart() {
  const part = make("div", "xz-part");
  part.append(make("div", "xz-title"), make("div", "xz-words", { dir: "auto" }), make("div", "xz-calls"));
  return part;
}

function makeCall() {
  const call = make("div", "xz-call");
  call.append(make("b"), make("code"));
  return call;
}

/** Equal values stay in the order as written, and rows without a value come last either way. */
function comparing({ name, down }, now) {
  const values = new Map();
  const value = (row) => {
    if (!values.has(row)) values.set(row, sortValue(row, name, now));
    return values.get(row);
  };
  return (one, other) => {
    const [left, right] = [value(one), value(other)];
    if (left === null || right === null) return (left === null) - (right === null) || one.n - other.n;
    const way = typeof left === "number" ? left - right : COLLATOR.compare(left, right);
    return (down ? -way : way) || one.n - other.n;
  };
}

function sortValue(row, name, now) {
  switch (name) {
    case "state":
      return STATES.indexOf(row.state);
    case "time":
      return elapsed_s(row, now);
    case "turns":
      return row.turns || null;
    case "tokens":
    case "cost":
      return row[name] === "free" ? 0 : Number.parseFloat(String(row[name] ?? "").replace(/[^\d.]/g, "")) || null;
    default:
      return row[name] || null;
  }
}

function elapsed_s(row, now) {
  if (hasEnded(row)) return row.duration_s ?? null;
  return row.started_at ? Math.max(0, now - row.started_at) : null;
}

function hasEnded(row) {
  return row.state !== "waiting" && row.state !== "running";
}

function words(state) {
  return state.replaceAll("_", " ");
}

function count(number) {
  return (number ?? 0).toLocaleString("en-US");
}

function seconds(time_s) {
  return time_s < 1 ? `${time_s.toFixed(2)} s` : liveSeconds(time_s);
}

function liveSeconds(time_s) {
  return time_s < 60 ? `${time_s.toFixed(1)} s` : wholeSeconds(time_s);
}

function wholeSeconds(time_s) {
  const whole = Math.round(time_s);
  return whole < 60 ? `${whole} s` : `${count(Math.floor(whole / 60))} min ${whole % 60} s`;
}

function plain(value) {
  return typeof value === "string" ? value : JSON.stringify(value, null, 1);
}

function numberOf(target) {
  const row = target.closest("[data-n], [data-of]");
  return row === null ? null : Number(row.dataset.n ?? row.dataset.of);
}

function focused(element) {
  const found = element.getRootNode().activeElement;
  return found && element.contains(found) ? found : null;
}

function hasFocus(element) {
  return element.getRootNode().activeElement === element;
}

function make(tag, classes = "", attributes = {}, text = "") {
  const element = document.createElement(tag);
  if (classes) element.className = classes;
  set(element, attributes);
  setText(element, text);
  return element;
}

/** So many children, made where there are fewer, each drawn. */
function keep(parent, number, makeOne, drawOne) {
  while (parent.children.length < number) parent.append(makeOne());
  while (parent.children.length > number) parent.lastChild.remove();
  for (let at = 0; at < number; at += 1) drawOne(parent.children[at], at);
}

/** Null takes the attribute away. */
function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined) element.removeAttribute(name);
    else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
  }
}

/** Of an element that holds text alone. What grows keeps its beginning, and with it what a person has marked. */
function setText(element, text) {
  const [node, wanted] = [element.firstChild, String(text ?? "")];
  if (node === null) {
    if (wanted) element.append(wanted);
  } else if (wanted.length > node.length && wanted.startsWith(node.data)) {
    node.appendData(wanted.slice(node.length));
  } else if (node.data !== wanted) {
    node.data = wanted;
  }
}

function setStyle(element, name, value) {
  if (element.style.getPropertyValue(name) !== String(value)) element.style.setProperty(name, value);
}
