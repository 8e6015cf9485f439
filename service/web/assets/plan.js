// The page Plan: which hardware and layout, as the frontier of what none beats.

import { ask } from "./api.js";
import { figure, pythonCall, showCall } from "./call.js";
import { draw } from "./chart.js";
import { byId, h, say, table } from "./dom.js";
import { asking, set } from "./form.js";
import { count, dollars, duration, energy, number, percent, words } from "./format.js";
import { quantity } from "./quantity.js";

const form = byId("question");

async function answer(stated) {
  const made = await ask("POST", "v1/plans", { body: stated });
  showCall({ method: "POST", path: "v1/plans", body: stated, python: pythonCall("plan", stated), answer: made });
  const rejected = Object.entries(made.rejected ?? {});
  const summary = h(
    "p",
    { class: "help" },
    figure(number(made.considered, 7), "considered"),
    " layouts considered",
    rejected.length
      ? [
          "; left out: ",
          rejected.map(([reason, many], place) => [
            place ? ", " : "",
            `${words(reason)} `,
            figure(number(many, 7), `rejected.${reason}`),
          ]),
        ].flat(3)
      : "",
    ".",
  );
  if (!made.plans.length) {
    byId("answer").replaceChildren(
      h(
        "section",
        { class: "card" },
        h("h2", {}, "No plan holds to this"),
        nearest(made.nearest_feasible, stated),
        summary,
      ),
    );
    return say("No plan holds to this; what would is listed.");
  }
  byId("answer").replaceChildren(
    h(
      "section",
      { class: "card" },
      h("h2", {}, "Time against cost"),
      h("p", { class: "help" }, "Plans on the line are beaten by none in time, cost and energy at once. Click one."),
      h("div", { id: "frontier", class: "chart" }),
      summary,
    ),
    made.warnings.length
      ? h(
          "section",
          { class: "notice", "aria-label": "Warnings" },
          h(
            "ul",
            {},
            made.warnings.map((text) => h("li", {}, text)),
          ),
        )
      : "",
    h("section", { class: "card", id: "chosen", tabindex: "-1", "aria-live": "polite" }),
    h("section", { class: "card" }, h("h2", {}, "All plans, best first"), list(made.plans, stated)),
  );
  choose(made.plans, 0, stated);
  await frontier(made.plans, stated);
  say(`${made.plans.length} plans.`);
}

/** The least changes after which there is a plan; each can be made. */
function nearest(ways, stated) {
  if (!ways.length) return h("p", {}, "Nothing near it would work either.");
  return [
    h("p", {}, "The least that would work:"),
    h(
      "ul",
      { class: "remedies" },
      ways.map(({ change, reason, plan }, place) =>
        h(
          "li",
          {},
          h(
            "button",
            {
              type: "button",
              onclick: () => {
                set(form, change);
                form.requestSubmit();
              },
            },
            "Apply",
          ),
          " ",
          Object.entries(change)
            .map(([field, value]) => `${field} = ${changed(value)}`)
            .join(", "),
          ` (${reason}): `,
          h("a", { href: `.?${single(plan, stated)}` }, name(plan)),
          ", ",
          figure(duration(plan.duration_hours.p50), `nearest_feasible[${place}].plan.duration_hours.p50`),
          plan.cost_usd
            ? [", ", figure(dollars(plan.cost_usd.p50), `nearest_feasible[${place}].plan.cost_usd.p50`)]
            : "",
        ),
      ),
    ),
  ];
}

/** What a field is changed to: a number, a word, or nothing. */
function changed(value) {
  if (value === null) return "nothing";
  return typeof value === "string" ? value : number(value, 6);
}

const name = ({ hardware }) => `${hardware.count} × ${hardware.accelerator}`;

async function frontier(plans, stated) {
  const priced = plans.some(({ cost_usd }) => cost_usd);
  const vertical = (plan) => (priced ? plan.cost_usd?.p50 : plan.energy_kwh?.p50);
  const kinds = [...new Set(plans.map(({ hardware }) => hardware.accelerator))];
  const best = plans
    .filter(({ pareto }) => pareto)
    .sort((one, other) => one.duration_hours.p50 - other.duration_hours.p50);
  const line = {
    x: best.map((plan) => plan.duration_hours.p50 / 24),
    y: best.map(vertical),
    mode: "lines",
    name: "frontier",
    line: { color: "#888", width: 1, shape: "hv" },
    hoverinfo: "skip",
  };
  const traces = (palette) =>
    kinds.map((kind, at) => {
      const mine = plans
        .map((plan, place) => ({ plan, place }))
        .filter(({ plan }) => plan.hardware.accelerator === kind);
      return {
        x: mine.map(({ plan }) => plan.duration_hours.p50 / 24),
        y: mine.map(({ plan }) => vertical(plan)),
        customdata: mine.map(({ place }) => place),
        text: mine.map(({ plan }) => `${name(plan)}, ${plan.training.precision}`),
        name: kind,
        mode: "markers",
        marker: {
          color: palette[at % palette.length],
          size: mine.map(({ plan }) => (plan.pareto ? 13 : 8)),
          opacity: mine.map(({ plan }) => (plan.pareto ? 1 : 0.5)),
        },
        hovertemplate: "%{text}<br>%{x:.3g} days, %{y:.3s}<extra></extra>",
      };
    });
  await draw(
    "frontier",
    `${plans.length} plans by days and ${priced ? "dollars" : "energy"}`,
    (palette) => [line, ...traces(palette)],
    {
      xaxis: { type: "log", dtick: "D2", title: { text: "days" } },
      yaxis: { rangemode: "tozero", title: { text: priced ? "USD" : "kWh" } },
    },
    (point) => {
      if (point.customdata !== undefined) choose(plans, point.customdata, stated);
    },
  );
}

function choose(plans, place, stated) {
  const plan = plans[place];
  const at = `plans[${place}]`;
  byId("chosen").replaceChildren(
    h("h2", {}, name(plan), " ", plan.pareto ? h("span", { class: "badge measured" }, "on the frontier") : ""),
    h(
      "div",
      { class: "quantities" },
      quantity("Duration", plan.duration_hours, duration, `${at}.duration_hours`),
      quantity("Cost", plan.cost_usd, dollars, `${at}.cost_usd`),
      quantity("Energy", plan.energy_kwh, energy, `${at}.energy_kwh`),
      quantity("Accelerator-hours", plan.accelerator_hours, count, `${at}.accelerator_hours`),
      quantity("Model FLOPs utilisation", plan.mfu, percent, `${at}.mfu`),
      quantity("Peak memory", plan.memory.peak_gb, (gb) => `${number(gb)} GB`, `${at}.memory.peak_gb`),
    ),
    likely(plan, at),
    h(
      "dl",
      { class: "facts" },
      Object.entries(plan.training)
        .filter(([, value]) => value !== null)
        .map(([field, value]) =>
          h("div", {}, h("dt", {}, words(field)), h("dd", {}, figure(String(value), `${at}.training.${field}`))),
        ),
    ),
    h("p", {}, h("a", { href: `.?${single(plan, stated)}` }, "Estimate it in full")),
  );
}

function likely(plan, at) {
  const chances = [
    ["fits_probability", "it fits in memory"],
    ["meets_deadline_probability", "it meets the deadline"],
    ["meets_budget_probability", "it keeps the budget"],
  ];
  return h(
    "p",
    {},
    h("span", { class: `badge ${plan.grade}` }, plan.grade),
    chances
      .filter(([field]) => plan[field] !== null)
      .map(([field, text], place) => [
        place ? "; " : " Probability that ",
        text,
        " ",
        figure(percent(plan[field]), `${at}.${field}`),
      ]),
    ".",
  );
}

function list(plans, stated) {
  return table(
    "Plans",
    ["Hardware", "Precision", "Duration", "Cost", "Energy", "Fits", "Frontier", "Layout"],
    plans.map((plan, place) => [
      h(
        "button",
        {
          type: "button",
          class: "plain",
          onclick: () => {
            choose(plans, place, stated);
            byId("chosen").focus();
          },
        },
        name(plan),
      ),
      figure(plan.training.precision, `plans[${place}].training.precision`),
      figure(duration(plan.duration_hours.p50), `plans[${place}].duration_hours.p50`),
      plan.cost_usd ? figure(dollars(plan.cost_usd.p50), `plans[${place}].cost_usd.p50`) : "–",
      plan.energy_kwh ? figure(energy(plan.energy_kwh.p50), `plans[${place}].energy_kwh.p50`) : "–",
      percent(plan.fits_probability),
      plan.pareto ? h("span", { class: "badge measured" }, "on it") : "",
      ["tensor_parallel", "pipeline_parallel", "data_parallel"]
        .filter((field) => plan.training[field])
        .map((field) => `${field[0]}p ${plan.training[field]}`)
        .join(" · "),
    ]),
    { class: "list" },
  );
}

function single(plan, stated) {
  const parameters = new URLSearchParams();
  for (const [section, part] of Object.entries({ ...stated, hardware: plan.hardware, training: plan.training })) {
    if (["deadline_hours", "budget_usd", "objective", "limit"].includes(section)) continue;
    for (const [field, value] of typeof part === "object" ? Object.entries(part) : [[null, part]]) {
      if (value !== null)
        parameters.set(
          field ? `${section}.${field}` : section,
          typeof value === "object" ? JSON.stringify(value) : value,
        );
    }
  }
  return parameters;
}

asking(form, answer);
