// An estimate on the page: what it predicts with intervals, what a step and the memory are made of, and why to believe it.

import { interval, stack } from "./bars.js";
import { figure } from "./call.js";
import { h, table } from "./dom.js";
import { count, dollars, duration, energy, mass, number, percent, range, seconds, words } from "./format.js";
import { quantity } from "./quantity.js";

const GRADES = {
  measured: "Runs much like this one were measured.",
  interpolated: "Measured runs lie around this one.",
  extrapolated: "No measured run is near: take the interval seriously.",
};

/** The whole answer; `actions` are what its assumptions and remedies lead to: `edit(field)` and `apply(change)`. */
export function estimate(answer, { edit, apply }) {
  return [
    headline(answer),
    notices(answer, apply),
    h(
      "section",
      { class: "card" },
      h("h2", {}, "Predicted"),
      h(
        "div",
        { class: "quantities" },
        quantity("Duration", answer.duration_hours, duration, "duration_hours"),
        quantity("Cost", answer.cost_usd, dollars, "cost_usd"),
        quantity("Model FLOPs utilisation", answer.mfu, percent, "mfu"),
        quantity("One step", answer.step_seconds, seconds, "step_seconds"),
        quantity("Tokens per second", answer.throughput.tokens_per_second, count, "throughput.tokens_per_second"),
        quantity("Samples per second", answer.throughput.samples_per_second, count, "throughput.samples_per_second"),
        quantity("Accelerator-hours", answer.accelerator_hours, count, "accelerator_hours"),
        quantity("Energy", answer.energy_kwh, energy, "energy_kwh"),
        quantity("Carbon, CO₂-equivalent", answer.carbon_kg_co2e, mass, "carbon_kg_co2e"),
        quantity("Making the machines, CO₂e", answer.embodied_kg_co2e, mass, "embodied_kg_co2e"),
      ),
    ),
    h(
      "section",
      { class: "card" },
      h("h2", {}, "A step"),
      h("p", { class: "help" }, "Where the seconds of the median step go."),
      stack(answer.breakdown, seconds, {
        legendOf: (name, text) => [words(name), " ", figure(text, `breakdown.${name}`)],
      }),
    ),
    memory(answer.memory),
    goodput(answer.goodput),
    h("section", { class: "card" }, h("h2", {}, "How it is split"), layout(answer.layout)),
    assumptions(answer.assumptions, edit),
    evidence(answer.evidence),
  ];
}

function headline(answer) {
  const grade = answer.evidence.grade;
  const said = answer.duration_hours
    ? [
        figure(duration(answer.duration_hours.p50), "duration_hours.p50"),
        ` (${range(answer.duration_hours, duration)})`,
        answer.cost_usd ? [", ", figure(dollars(answer.cost_usd.p50), "cost_usd.p50")] : "",
      ]
    : [
        figure(
          `${count(answer.throughput.samples_per_second.p50)} samples per second`,
          "throughput.samples_per_second.p50",
        ),
        "; say how much to train on for hours and dollars",
      ];
  return h(
    "p",
    { class: "headline" },
    said.flat(),
    " ",
    h("span", { class: `badge ${grade}`, title: GRADES[grade] }, grade),
    answer.memory.fits ? null : h("span", { class: "badge bad" }, "does not fit"),
  );
}

function notices(answer, apply) {
  const remedies = answer.remedies.map((remedy) =>
    h(
      "li",
      {},
      h("button", { type: "button", onclick: () => apply(remedy.change) }, "Apply"),
      " ",
      Object.entries(remedy.change)
        .map(([name, value]) => `${name} = ${value}`)
        .join(", "),
      ` – ${number(remedy.peak_gb)} GB, ${count(remedy.samples_per_second)} samples/s`,
    ),
  );
  if (!answer.warnings.length && !remedies.length) return null;
  return h(
    "section",
    { class: "notice", "aria-label": "Warnings" },
    h(
      "ul",
      {},
      answer.warnings.map((text) => h("li", {}, text)),
    ),
    remedies.length ? [h("p", {}, "What would make it fit:"), h("ul", { class: "remedies" }, remedies)] : null,
  );
}

function memory(held) {
  const room = held.available_gb;
  const most = Math.max(room ?? 0, held.peak_gb.p90) * 1.02;
  return h(
    "section",
    { class: "card" },
    h("h2", {}, "Memory of one accelerator"),
    h(
      "p",
      {},
      figure(`${number(held.peak_gb.p50)} GB`, "memory.peak_gb.p50"),
      ` at its peak (${range(held.peak_gb, (gb) => `${number(gb)} GB`)})`,
      room
        ? [
            ", of ",
            figure(`${number(room)} GB`, "memory.available_gb"),
            "; it fits with probability ",
            figure(percent(held.fits_probability), "memory.fits_probability"),
          ]
        : "",
      ".",
    ),
    stack(held.parts, (gb) => `${number(gb)} GB`, {
      most,
      limit: room,
      legendOf: (name, text) => [words(name), " ", figure(text, `memory.parts.${name}`)],
    }),
    interval(held.peak_gb, most),
  );
}

function goodput(kept) {
  if (!kept) return null;
  return h(
    "section",
    { class: "card" },
    h("h2", {}, "The whole run"),
    h(
      "p",
      {},
      figure(percent(kept.share.p50), "goodput.share.p50"),
      " of the hours are productive; ",
      figure(number(kept.failures), "goodput.failures"),
      " interruptions are expected, a checkpoint is written every ",
      figure(duration(kept.checkpoint_interval_hours), "goodput.checkpoint_interval_hours"),
      ".",
    ),
    stack(kept.hours, duration, {
      legendOf: (name, text) => [words(name), " ", figure(text, `goodput.hours.${name}`)],
    }),
  );
}

function layout(chosen) {
  const said = Object.entries(chosen).filter(([, value]) => value !== null && value !== undefined);
  return h(
    "dl",
    { class: "facts" },
    said.map(([name, value]) =>
      h("div", {}, h("dt", {}, words(name)), h("dd", {}, figure(String(value), `layout.${name}`))),
    ),
  );
}

function assumptions(made, edit) {
  if (!made.length) return null;
  return h(
    "section",
    { class: "card", id: "assumptions" },
    h("h2", {}, `Assumed (${made.length})`),
    table(
      "Assumptions",
      ["Field", "Taken", "Why"],
      made.map((one, place) => [
        h("button", { type: "button", class: "plain", title: "State it", onclick: () => edit(one.field) }, one.field),
        figure(
          typeof one.value === "object" ? JSON.stringify(one.value) : String(one.value),
          `assumptions[${place}].value`,
        ),
        one.reason,
      ]),
      { class: "prose" },
    ),
  );
}

function evidence(given) {
  return h(
    "section",
    { class: "card" },
    h("h2", {}, "Why believe it"),
    h(
      "p",
      {},
      h("span", { class: `badge ${given.grade}` }, given.grade),
      ` ${GRADES[given.grade]} Calibration `,
      h("a", { href: "accuracy" }, given.calibration),
      ", ",
      given.site_version ? `site effects ${given.site_version}` : "as a new site",
      ".",
    ),
    given.nearest.length
      ? table(
          "Nearest measurements",
          ["Measurement", "Distance", "Measured, samples/s", "Predicted, samples/s"],
          given.nearest.map((near, place) => [
            h("a", { href: `measurements?id=${encodeURIComponent(near.id)}` }, near.id),
            number(near.distance),
            figure(count(near.measured), `evidence.nearest[${place}].measured`),
            figure(count(near.predicted), `evidence.nearest[${place}].predicted`),
          ]),
        )
      : null,
  );
}
