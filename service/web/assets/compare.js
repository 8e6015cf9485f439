// The page Compare: one training on several choices of hardware.

import { ask } from "./api.js";
import { interval } from "./bars.js";
import { figure, pythonBatch, showCall } from "./call.js";
import { searchable } from "./catalog.js";
import { byId, h, say, table } from "./dom.js";
import { asking, parsed, showFault } from "./form.js";
import { count, dollars, duration, energy, mass, number, percent, range } from "./format.js";

const form = byId("question");
const choices = byId("choices");
const FIELDS = [
  ["accelerator", "Accelerator", "H100-SXM5-80GB"],
  ["count", "Accelerators", "8"],
  ["per_node", "Per node", "8"],
];
const SEPARATOR = "~";
const FIRST = ["A100-SXM4-80GB~8", "H100-SXM5-80GB~8", "B200-SXM-180GB~8"];
const ROWS = [
  ["Duration", (made) => made.duration_hours, duration, "duration_hours"],
  ["Cost", (made) => made.cost_usd, dollars, "cost_usd"],
  ["Energy", (made) => made.energy_kwh, energy, "energy_kwh"],
  ["Carbon, CO₂e", (made) => made.carbon_kg_co2e, mass, "carbon_kg_co2e"],
  ["Samples per second", (made) => made.throughput.samples_per_second, count, "throughput.samples_per_second"],
  ["MFU", (made) => made.mfu, percent, "mfu"],
  ["Peak memory", (made) => made.memory.peak_gb, (gb) => `${number(gb)} GB`, "memory.peak_gb"],
];
let rows = 0;

function addChoice(text = "") {
  const values = text.split(SEPARATOR);
  const id = ++rows;
  const row = h(
    "div",
    { class: "offer", role: "group", "aria-label": "One choice of hardware" },
    FIELDS.map(([name, label, example]) =>
      h(
        "div",
        { class: "field" },
        h("label", { for: `f-choice-${id}-${name}` }, label),
        h("input", {
          type: "text",
          id: `f-choice-${id}-${name}`,
          "data-field": name,
          placeholder: example,
          inputmode: name === "accelerator" ? "text" : "decimal",
          "data-catalog": name === "accelerator" ? "v1/accelerators slug" : null,
        }),
      ),
    ),
    h("button", { type: "button", "aria-label": "Remove this choice", onclick: () => row.remove() }, "Remove"),
  );
  [...row.querySelectorAll("input")].forEach((input, place) => {
    input.value = values[place] ?? "";
  });
  choices.append(row);
  searchable(row);
}

const stated = (row) => [...row.querySelectorAll("input")].map((input) => input.value.trim());
const asked = () => [...choices.children].filter((row) => stated(row)[0]);

async function answer(base) {
  const chosen = asked();
  const requests = chosen.map((row) => {
    const [accelerator, ...numbers] = stated(row);
    const hardware = { ...base.hardware, accelerator };
    ["count", "per_node"].forEach((name, place) => {
      if (numbers[place]) hardware[name] = parsed(numbers[place]);
    });
    return { ...base, hardware };
  });
  if (!requests.length) throw Object.assign(new Error("Name an accelerator to compare."), { errors: [] });
  const made = await ask("POST", "v1/estimates/batch", { body: requests });
  const good = made.filter((one) => one.throughput).length;
  const shared = (made[0].errors ?? []).filter(({ field }) => !isOfRow(field));
  if (!good && shared.length) throw Object.assign(new Error(made[0].detail), { errors: shared });
  byId("answer").replaceChildren(beside(requests, made));
  showCall({ method: "POST", path: "v1/estimates/batch", body: requests, python: pythonBatch(requests), answer: made });
  say(`Compared ${good} of ${made.length}.`);
  for (const [place, row] of chosen.entries()) showRowFaults(row, made[place]);
}

const isOfRow = (field) => FIELDS.some(([name]) => field === `hardware.${name}`);

function showRowFaults(row, made) {
  for (const input of row.querySelectorAll("input")) {
    const fault = (made.errors ?? []).find((error) => error.field === `hardware.${input.dataset.field}`);
    if (fault) showFault(input, fault);
  }
}

function beside(requests, made) {
  const names = requests.map(
    ({ hardware }) => `${hardware.count ? `${hardware.count} × ` : ""}${hardware.accelerator}`,
  );
  const body = ROWS.map(([title, of, show, pointer]) => {
    const values = made.map((one) => (one.throughput ? of(one) : null));
    const most = Math.max(...values.filter(Boolean).map((value) => value.p90)) * 1.05;
    return [
      title,
      ...values.map((value, place) =>
        value
          ? h(
              "div",
              { class: "cell" },
              figure(show(value.p50), `[${place}].${pointer}.p50`),
              interval(value, most),
              h("small", {}, range(value, show)),
            )
          : "–",
      ),
    ];
  });
  body.push([
    "Fits in memory",
    ...made.map((one, place) =>
      one.throughput ? figure(one.memory.fits ? "yes" : "no", `[${place}].memory.fits`) : "–",
    ),
  ]);
  body.push([
    "Grade",
    ...made.map((one) =>
      one.throughput ? h("span", { class: `badge ${one.evidence.grade}` }, one.evidence.grade) : "–",
    ),
  ]);
  body.push([
    "In full",
    ...made.map((one, place) =>
      one.throughput
        ? h("a", { href: `.?${single(requests[place])}` }, "open")
        : h("span", { class: "fault" }, one.detail),
    ),
  ]);
  return h(
    "section",
    { class: "card" },
    h("h2", {}, "Side by side"),
    table("Predictions by hardware", ["Quantity", ...names], body, { class: "beside" }),
  );
}

function single(request) {
  const parameters = new URLSearchParams();
  for (const [section, part] of Object.entries(request)) {
    for (const [name, value] of typeof part === "object" ? Object.entries(part) : [[null, part]]) {
      parameters.set(name ? `${section}.${name}` : section, typeof value === "object" ? JSON.stringify(value) : value);
    }
  }
  return parameters;
}

byId("add-choice").addEventListener("click", () => {
  addChoice();
  choices.lastChild.querySelector("input").focus();
});
asking(form, answer, {
  more: (parameters) => {
    for (const row of asked()) parameters.append("choice", stated(row).join(SEPARATOR).replace(/~+$/, ""));
  },
  restore: (parameters) => {
    const given = parameters.getAll("choice");
    const single = parameters.get("hardware.accelerator");
    const first = single
      ? [
          [single, parameters.get("hardware.count"), parameters.get("hardware.per_node")]
            .join(SEPARATOR)
            .replace(/~+$/, ""),
        ]
      : [];
    choices.replaceChildren();
    for (const choice of given.length ? given : [...first, ...FIRST]) addChoice(choice);
    return given.length > 0;
  },
});
