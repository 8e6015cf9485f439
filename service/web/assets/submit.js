// The page Submit: a file or one measurement, checked before anything is stored.

import { ask } from "./api.js";
import { pythonCall, showCall } from "./call.js";
import { searchable } from "./catalog.js";
import { byId, h, say, table } from "./dom.js";
import { clearFaults, request, showFaults } from "./form.js";
import { number } from "./format.js";

const IMPORT = "v1/measurements/import";
const form = byId("question");
const drop = byId("drop");
const KINDS = ["accepted", "quarantined", "duplicate", "refused"];
const MOST_SHOWN = 200;

const mediaType = (file) => (/\.(ndjson|jsonl)$/i.test(file.name) ? "application/x-ndjson" : "text/csv");

const rowsOf = (many) => `${number(many, 7)} ${many === 1 ? "row" : "rows"}`;

async function check(file) {
  const sent = { name: file.name, type: mediaType(file) };
  const path = `${IMPORT}?mode=check`;
  byId("report").replaceChildren();
  say(`Checking ${file.name} …`, "report-status");
  try {
    const report = await ask("POST", path, { body: file, type: sent.type });
    showCall({ method: "POST", path, sent, answer: report });
    const good = report.accepted + report.quarantined;
    say(`${file.name}: ${rowsOf(report.rows)} checked, nothing stored yet.`, "report-status");
    byId("report").replaceChildren(
      ...shown(report),
      good
        ? h("button", { type: "button", class: "primary", onclick: () => store(file, sent) }, `Store ${rowsOf(good)}`)
        : h("p", {}, "There is nothing to store."),
    );
  } catch (problem) {
    failed(problem);
  }
}

async function store(file, sent) {
  const path = `${IMPORT}?mode=best_effort`;
  say(`Storing ${file.name} …`, "report-status");
  try {
    // The same file again is the same request: a second click stores nothing twice.
    const report = await ask("POST", path, { body: file, type: sent.type });
    showCall({ method: "POST", path, sent, answer: report });
    say(`${file.name}: ${rowsOf(report.accepted + report.quarantined)} stored.`, "report-status");
    byId("report").replaceChildren(...shown(report));
  } catch (problem) {
    failed(problem);
  }
}

function failed(problem) {
  say("", "report-status");
  byId("report").replaceChildren(
    h(
      "div",
      { class: "problem", role: "alert" },
      h("p", {}, problem.message),
      h(
        "ul",
        {},
        (problem.errors ?? []).map((error) =>
          h("li", {}, `${error.field}: ${error.message}${error.hint ? ` – ${error.hint}` : ""}`),
        ),
      ),
    ),
  );
}

function shown(report) {
  const counts = h(
    "p",
    { class: "counts" },
    KINDS.filter((kind) => report[kind]).map((kind) =>
      h("span", { class: `badge ${tone(kind)}` }, `${number(report[kind], 7)} ${kind}`),
    ),
  );
  // What needs a look comes first.
  const items = [...report.items].sort(
    (one, other) => KINDS.indexOf(other.outcome) - KINDS.indexOf(one.outcome) || one.row - other.row,
  );
  const rows = items.slice(0, MOST_SHOWN).map((item) => [
    [h("span", { class: "narrow" }, "Row "), String(item.row)],
    h("span", { class: `badge ${tone(item.outcome)}` }, item.outcome),
    item.errors
      ? h(
          "ul",
          {},
          item.errors.map((error) =>
            h(
              "li",
              {},
              error.field ? h("code", {}, error.field) : "",
              ` ${error.message}`,
              error.hint ? h("em", {}, ` – ${error.hint}`) : "",
            ),
          ),
        )
      : (item.reason ?? ""),
    item.id ? h("a", { href: `measurements?id=${encodeURIComponent(item.id)}` }, item.id) : "",
  ]);
  const left = report.rows - rows.length;
  return [
    counts,
    table("Report by row", ["Row", "Outcome", "Why", "Measurement"], rows, { class: "prose" }),
    left > 0
      ? h("p", { class: "help" }, `${number(left, 7)} further rows are in the answer below or counted above.`)
      : "",
  ];
}

const tone = (outcome) =>
  ({ accepted: "measured", quarantined: "interpolated", duplicate: "interpolated", refused: "bad" })[outcome];

async function checkOne() {
  clearFaults(form);
  const path = `${IMPORT}?mode=check`;
  try {
    const stated = request(form);
    const report = await ask("POST", path, { body: JSON.stringify(stated), type: "application/x-ndjson" });
    showCall({ method: "POST", path, sent: { name: "row.ndjson", type: "application/x-ndjson" }, answer: report });
    const [item] = report.items;
    if (item.errors) throw Object.assign(new Error(item.reason), { errors: item.errors });
    byId("answer").replaceChildren(
      h(
        "p",
        {},
        h("span", { class: `badge ${tone(item.outcome)}` }, item.outcome),
        ` ${item.reason ?? "It would be stored and used."}`,
      ),
    );
    say("Checked; nothing is stored.");
  } catch (problem) {
    byId("answer").replaceChildren();
    showFaults(form, problem);
  }
}

/** A new idempotency key: 128 random bits (crypto.randomUUID is there over https only). */
function fresh() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function submit() {
  clearFaults(form);
  try {
    const stated = request(form);
    const stored = await ask("POST", "v1/measurements", { body: stated, headers: { "idempotency-key": fresh() } });
    showCall({
      method: "POST",
      path: "v1/measurements",
      body: stated,
      python: pythonCall("submit", stated),
      answer: stored,
    });
    byId("answer").replaceChildren(
      h(
        "p",
        {},
        h("span", { class: `badge ${tone(stored.status) ?? "measured"}` }, stored.status),
        " ",
        h("a", { href: `measurements?id=${encodeURIComponent(stored.id)}` }, stored.id),
        stored.status_reason ? ` – ${stored.status_reason}` : "",
      ),
    );
    say(stored.duplicate ? "Submitted before; nothing new is stored." : "Stored.");
  } catch (problem) {
    byId("answer").replaceChildren();
    showFaults(form, problem);
  }
}

searchable(form);
form.addEventListener("submit", (event) => {
  event.preventDefault();
  submit();
});
byId("check").addEventListener("click", checkOne);
byId("file").addEventListener("change", (event) => {
  if (event.target.files[0]) check(event.target.files[0]);
  event.target.value = "";
});
for (const kind of ["dragover", "dragenter"])
  drop.addEventListener(kind, (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
for (const kind of ["dragleave", "drop"]) drop.addEventListener(kind, () => drop.classList.remove("over"));
drop.addEventListener("drop", (event) => {
  event.preventDefault();
  if (event.dataTransfer.files[0]) check(event.dataTransfer.files[0]);
});
