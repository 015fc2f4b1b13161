/* The kernel's clock and the table of rows; a part of the one module that dashboard.js begins. */

/** The kernel's clock, as far as the page can tell: what runs is counted on by it between two messages. */
class Clock {
  ahead_s = 0;

  set(now) {
    this.ahead_s = now - Date.now() / 1000;
  }

  /** In steps of a tick: figures that change in each frame cost much and cannot be read. */
  now() {
    return (Math.floor(Date.now() / TICK_MS) * TICK_MS) / 1000 + this.ahead_s;
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
    setStyle(this.list, "--xz-state-width", `${this.widestState + 2}ch`);
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
