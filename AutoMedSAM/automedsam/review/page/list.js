// The list of cases. Only the rows that can be seen are in the page, so that thousands scroll as quickly as ten.

const ROW = 84, SPARE = 4;

const FILTERS = {
  all: () => true,
  open: c => !c.decision || c.outdated,
  accept: c => c.decision === "accept",
  fix: c => c.decision === "fix",
  reject: c => c.decision === "reject",
  warned: c => c.warned,
  empty: c => c.state === "done" && c.objects === 0,
  failed: c => c.state !== "done",
};

const total = c => Object.values(c.volume_ml).reduce((sum, value) => sum + value, 0);
const worstDice = c => Math.min(2, ...Object.values(c.dice));
const ORDERS = {
  doubt: () => 0,  // as the server sorts them
  name: (a, b) => a.name.localeCompare(b.name, undefined, { numeric: true }),
  volume: (a, b) => total(b) - total(a),
  dice: (a, b) => worstDice(a) - worstDice(b),
};

export function describe(c) {
  if (c.state !== "done") return c.message;
  const dice = Object.values(c.dice);
  const parts = [c.objects === 0 ? "nothing found" : `${c.objects} object${c.objects === 1 ? "" : "s"}`, `${total(c).toFixed(2)} ml`];
  if (dice.length) parts.push(`Dice ${Math.min(...dice).toFixed(3)}`);
  return parts.join(", ");
}

export class CaseList {
  constructor(box, choose) {
    this.box = box;
    this.rows = box.querySelector("#rows");
    this.choose = choose;
    this.all = [];
    this.shown = [];
    this.current = "";
    this.drawn = new Map();
    this.filter = "all";
    this.order = "doubt";
    this.text = "";
    box.addEventListener("scroll", () => this.draw(), { passive: true });
    new ResizeObserver(() => this.draw()).observe(box);
    this.rows.addEventListener("click", event => {
      const row = event.target.closest(".row");
      if (row) this.choose(row.dataset.name);
    });
  }

  update() {
    const words = this.text.toLowerCase();
    this.shown = this.all.filter(c => FILTERS[this.filter](c) && `${c.name} ${c.note}`.toLowerCase().includes(words));
    if (this.order !== "doubt") this.shown = [...this.shown].sort(ORDERS[this.order]);
    this.rows.style.height = `${this.shown.length * ROW}px`;
    this.redraw();
  }

  redraw() {
    for (const row of this.drawn.values()) row.remove();
    this.drawn.clear();
    this.draw();
  }

  draw() {
    const first = Math.max(0, Math.floor(this.box.scrollTop / ROW) - SPARE);
    const last = Math.min(this.shown.length, Math.ceil((this.box.scrollTop + this.box.clientHeight) / ROW) + SPARE);
    for (const [index, row] of this.drawn) {
      if (index < first || index >= last) {
        row.remove();
        this.drawn.delete(index);
      }
    }
    for (let index = first; index < last; index++) {
      if (!this.drawn.has(index)) {
        const row = this.row(this.shown[index], index);
        this.drawn.set(index, row);
        this.rows.append(row);
      }
    }
  }

  row(c, index) {
    const row = document.createElement("div");
    row.className = c.name === this.current ? "row current" : "row";
    row.style.top = `${index * ROW}px`;
    row.dataset.name = c.name;
    row.dataset.decision = c.decision;
    row.setAttribute("role", "option");
    row.setAttribute("aria-selected", String(c.name === this.current));
    let picture = document.createElement("div");
    picture.className = "blank";
    picture.textContent = "!";
    if (c.state === "done") {
      picture = document.createElement("img");
      picture.src = `/api/thumbnail?case=${encodeURIComponent(c.name)}`;
      picture.alt = "";
      picture.decoding = "async";
    }
    const text = document.createElement("div");
    text.className = "text";
    const line = (kind, content) => {
      const element = document.createElement(kind);
      element.textContent = element.title = content;
      text.append(element);
    };
    line("b", c.name);
    line("small", describe(c));
    if (c.state === "done") line("small", `Doubt ${(100 * c.doubt).toFixed(0)} %${c.warned ? ", warnings" : ""}`);
    line("small", (c.outdated ? "changed since: " : "") + [c.decision, c.note].filter(Boolean).join(": "));
    row.append(picture, text);
    return row;
  }

  select(name) {
    this.current = name;
    const index = this.shown.findIndex(c => c.name === name);
    if (index >= 0) {
      const top = index * ROW;
      if (top < this.box.scrollTop) this.box.scrollTop = top;
      else if (top + ROW > this.box.scrollTop + this.box.clientHeight) this.box.scrollTop = top + ROW - this.box.clientHeight;
    }
    this.redraw();
  }

  neighbor(step) {
    const index = this.shown.findIndex(c => c.name === this.current);
    const next = this.shown[index < 0 ? 0 : Math.min(this.shown.length - 1, Math.max(0, index + step))];
    return next && next.name;
  }
}
