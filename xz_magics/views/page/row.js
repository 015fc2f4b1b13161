/* A row, its details and what both are made with; a part of the one module that dashboard.js begins. */

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
    setStyle(this.bar, "transform", `scaleX(${time_s === null ? 0 : Math.ceil((100 * time_s) / longest_s) / 100})`);
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
      const { kind, title, text, calls = [], turns = [] } = parts[at];
      set(part, { "data-kind": kind });
      setText(part.children[0], title);
      setText(part.children[1], text);
      keep(part.children[2], calls.length, makeCall, (call, place) => {
        setText(call.children[0], calls[place].name);
        setText(call.children[1], plain(calls[place].arguments));
      });
      drawTurns(part.children[3], turns);
    });
    if (followed) box.scrollTop = box.scrollHeight;
  }
}

/** The answer and the error first, for these are looked for; then how it came to them. */
function detailParts({ text, error, turns = [], messages = [], cut }) {
  const parts = [];
  if (text) parts.push({ kind: "text", title: "answer", text });
  if (error) parts.push({ kind: "error", title: "error", text: error });
  if (turns.length) parts.push({ kind: "turns", title: "tokens and cost", text: "", turns });
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
  part.append(make("div", "xz-spent"));
  return part;
}

/** A line per model call, below the names of what it tells. */
function drawTurns(spent, turns) {
  const names = Object.keys(turns[0] ?? {});
  const lines = names.length ? [Object.fromEntries(names.map((name) => [name, name])), ...turns] : [];
  set(spent, { role: lines.length ? "table" : null });
  keep(spent, lines.length, () => make("div", "xz-line", { role: "row" }), (line, at) => {
    const makeOne = () => make("span", "", { role: at ? "cell" : "columnheader" });
    keep(line, names.length, makeOne, (cell, place) => setText(cell, lines[at][names[place]]));
  });
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
      return row[name] === "free" ? 0 : amount(row[name]);
    default:
      return row[name] || null;
  }
}

/** Of "≈ 1,204" or "$0.0012"; none where nothing is known. */
function amount(text) {
  const digits = String(text ?? "").replace(/[^\d.]/g, "");
  return digits ? Number.parseFloat(digits) : null;
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
