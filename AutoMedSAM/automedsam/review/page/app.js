// Connects the list, the viewer and the decisions with the server.

import { CaseList, describe } from "/list.js";
import { PLANES, Viewer } from "/viewer.js";

const LOW_CONFIDENCE = 0.5, REFRESH_MS = 15000;
const $ = id => document.getElementById(id);
const list = new CaseList($("list"), open);
const viewer = new Viewer($("views"), drawStrip);
let details = null;

async function get(path, name) {
  const answer = await fetch(name === undefined ? path : `${path}?case=${encodeURIComponent(name)}`);
  if (!answer.ok) throw new Error(await answer.text());
  return answer;
}

async function refresh() {
  const found = await (await get("/api/cases")).json();
  document.title = $("title").textContent = `${found.folder}: ${found.title}`;
  list.all = found.cases;
  list.update();
  summarize();
}

function summarize() {
  const count = decision => list.all.filter(c => c.decision === decision).length;
  const decided = list.all.filter(c => c.decision && !c.outdated).length;
  $("progress").firstElementChild.style.width = `${(100 * decided) / Math.max(1, list.all.length)}%`;
  $("summary").textContent =
    `${decided} of ${list.all.length} reviewed: ${count("accept")} accepted, ${count("fix")} to fix, ${count("reject")} rejected`;
}

async function open(name) {
  if (!name) return;
  list.select(name);
  details = null;
  viewer.show(null);
  $("message").textContent = "Loading";
  $("name").textContent = name;
  for (const id of ["figures", "warnings", "reason", "saved"]) $(id).textContent = "";
  $("note").value = "";
  try {
    const found = await (await get("/api/case", name)).json();
    const bytes = async path => new Uint8Array(await (await get(path, name)).arrayBuffer());
    let volume = null;
    if (found.state === "done") {
      const [labels, image] = await Promise.all([bytes("/api/labels"), found.has_image ? bytes("/api/image") : null]);
      volume = { ...found, labels, image };
    }
    if (list.current !== name) return;  // another case was chosen meanwhile
    details = found;
    $("message").textContent = found.state === "done" ? "" : found.message;
    viewer.show(volume);
  } catch (error) {
    if (list.current === name) $("message").textContent = error.message;
    return;
  }
  showFigures();
  showDecision();
  drawStrip();
}

function showFigures() {
  const { figures } = details;
  if (details.state !== "done") return;
  const parts = [describe(details)];
  for (const [name, value] of Object.entries(figures.volume_ml)) {
    const diameter = figures.diameter_mm[name], dice = (figures.dice || {})[name];
    parts.push(`${name}: ${value.toFixed(2)} ml${diameter ? `, ${diameter.toFixed(1)} mm` : ""}${dice === undefined ? "" : `, Dice ${dice.toFixed(3)}`}`);
  }
  parts.push(`${figures.doubtful_slices.length} doubtful slices`);
  $("figures").textContent = parts.join("  |  ");
  $("warnings").textContent = [...details.warnings, ...details.notes].join(" ");
}

function showDecision() {
  for (const button of document.querySelectorAll("#decide button"))
    button.classList.toggle("chosen", button.dataset.decision === details.decision && !details.outdated);
  $("note").value = details.note;
  if (details.outdated) $("saved").textContent = "The segmentation has changed since the decision.";
}

async function decide(decision, next) {
  if (!details) return;
  const name = details.name, shown = details;
  $("saved").textContent = "Saving";
  try {
    const body = JSON.stringify({ case: name, decision, note: $("note").value });
    const answer = await fetch("/api/decision", { method: "POST", headers: { "Content-Type": "application/json" }, body });
    if (!answer.ok) throw new Error(await answer.text());
    const line = await answer.json();
    Object.assign(shown, { decision: line.decision, note: line.note, outdated: line.outdated });
    const index = list.all.findIndex(c => c.name === name);
    if (index >= 0) list.all[index] = line;
  } catch (error) {
    $("saved").textContent = `Not saved: ${error.message}`;
    return;
  }
  const following = next && list.neighbor(1);
  list.update();
  summarize();
  if (following && following !== name) open(following);
  else if (details === shown) {
    showDecision();
    $("saved").textContent = "Saved";
  }
}

function drawStrip() {
  const strip = $("strip"), context = strip.getContext("2d");
  strip.width = strip.clientWidth;
  $("reason").textContent = "";
  if (!details || !viewer.volume) return;
  const count = viewer.volume.shape[PLANES.indexOf(details.plane)], wide = strip.width / count;
  for (const [index, confidence] of details.confidence) {
    context.fillStyle = confidence < LOW_CONFIDENCE ? "#e0605a" : confidence < 0.75 ? "#e0a63a" : "#3fb27f";
    context.fillRect(index * wide, 26 - 4 - 22 * confidence, Math.max(1, wide - 1), 4 + 22 * confidence);
  }
  const index = viewer.position[PLANES.indexOf(details.plane)];
  context.fillStyle = "#e4e9ef";
  context.fillRect(index * wide + wide / 2 - 1, 0, 2, 26);
  const here = details.confidence.find(([slice]) => slice === index);
  $("reason").classList.toggle("doubtful", Boolean(here) && here[1] < LOW_CONFIDENCE);
  if (here) $("reason").textContent = `Slice ${index + 1}: confidence ${here[1].toFixed(2)}${here[2] ? `, ${here[2]}` : ""}`;
}

function nextDoubtful() {
  if (!details || !viewer.volume) return;
  const index = viewer.position[PLANES.indexOf(details.plane)];
  const doubtful = details.figures.doubtful_slices;
  const next = doubtful.find(slice => slice > index) ?? doubtful[0];
  if (next !== undefined) viewer.go(details.plane, next);
}

const KEYS = {
  j: () => open(list.neighbor(1)),
  k: () => open(list.neighbor(-1)),
  a: () => decide("accept", true),
  f: () => decide("fix", true),
  r: () => decide("reject", true),
  u: () => decide("", false),
  n: () => $("note").focus(),
  o: () => $("outline").click(),
  d: nextDoubtful,
  1: () => viewer.activate("axial"),
  2: () => viewer.activate("coronal"),
  3: () => viewer.activate("sagittal"),
  ArrowUp: () => viewer.step(1),
  ArrowDown: () => viewer.step(-1),
  PageUp: () => viewer.step(10),
  PageDown: () => viewer.step(-10),
};

document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.matches("input:not([type=checkbox]):not([type=range]), select")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const action = KEYS[event.key] || KEYS[event.key.toLowerCase()];
  if (action) {
    event.preventDefault();
    action();
  }
});
$("note").addEventListener("keydown", event => event.key === "Enter" && event.target.blur());
$("note").addEventListener("change", () => details && decide(details.decision, false));
$("outline").addEventListener("change", event => { viewer.outline = event.target.checked; viewer.draw(); event.target.blur(); });
$("level").addEventListener("input", event => { viewer.level = Number(event.target.value); viewer.draw(); });
$("strip").addEventListener("click", event => {
  if (!details || !viewer.volume) return;
  const count = viewer.volume.shape[PLANES.indexOf(details.plane)];
  viewer.go(details.plane, Math.floor((event.offsetX / event.target.clientWidth) * count));
});
for (const id of ["filter", "order"]) $(id).addEventListener("change", event => { list[id] = event.target.value; list.update(); event.target.blur(); });
$("search").addEventListener("input", event => { list.text = event.target.value; list.update(); });
for (const button of document.querySelectorAll("#decide button"))
  button.addEventListener("click", () => { button.blur(); decide(button.dataset.decision, true); });

await refresh();
open(list.neighbor(0));
setInterval(() => refresh().catch(() => { $("saved").textContent = "The server has ended: run 'automedsam review' again."; }), REFRESH_MS);
