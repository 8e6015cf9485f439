// The page Scale: one training on more and more accelerators of a kind.

import { ask } from "./api.js";
import { figure, pythonCall, showCall } from "./call.js";
import { band, draw } from "./chart.js";
import { byId, h, say, table } from "./dom.js";
import { asking, parsed } from "./form.js";
import { dollars, duration, number, percent, range } from "./format.js";

const form = byId("question");
const counts = byId("f-counts");
const VARIED = "hardware.count";
/** Marks that fit under a chart beside each other. */
const MOST_TICKS = 12;

async function answer(base) {
  const wanted = counts.value
    .split(",")
    .map((text) => parsed(text))
    .filter((value) => value !== "");
  const stated = { ...base, vary: { [VARIED]: wanted } };
  const made = await ask("POST", "v1/sweeps", { body: stated });
  showCall({ method: "POST", path: "v1/sweeps", body: stated, python: pythonCall("sweep", stated), answer: made });
  const good = made.points.filter(({ estimate }) => estimate);
  if (!good.length)
    throw Object.assign(new Error(made.points[0].problem.detail), { errors: made.points[0].problem.errors ?? [] });
  const isTimed = good.every(({ estimate }) => estimate.duration_hours);
  const charts = [
    isTimed
      ? ["time", "Days", days, { type: "log", title: { text: "days" } }]
      : [
          "time",
          "Samples per second",
          (made) => made.throughput.samples_per_second,
          { type: "log", title: { text: "samples per second" } },
        ],
  ];
  if (isTimed && good.every(({ estimate }) => estimate.cost_usd))
    charts.push(["cost", "Cost", (made) => made.cost_usd, { rangemode: "tozero", title: { text: "USD" } }]);
  const card = (id, title) => h("section", { class: "card" }, h("h2", {}, title), h("div", { id, class: "chart" }));
  byId("answer").replaceChildren(
    ...charts.map(([id, title]) => card(id, title)),
    card("efficiency", "What more accelerators are worth"),
    h("section", { class: "card" }, h("h2", {}, "In numbers"), numbers(made.points)),
  );
  const x = good.map(({ values }) => values[VARIED]);
  const axis = {
    xaxis: { type: "log", title: { text: "accelerators" }, ...ticks(x) },
    showlegend: false,
  };
  for (const [place, [id, title, of, yaxis]] of charts.entries()) {
    await draw(
      id,
      `${title} against accelerators, with 80 % bands`,
      (palette) =>
        band(
          x,
          good.map(({ estimate }) => of(estimate)),
          "median",
          palette[place],
        ),
      { ...axis, yaxis },
    );
  }
  await draw(
    "efficiency",
    "Efficiency against accelerators: speed-up over the first count, by how many times more there are",
    (palette) => band(x, efficiencies(made.curves[0]), "median", palette[2]),
    { ...axis, yaxis: { rangemode: "tozero", tickformat: ".0%", title: { text: "speed-up ÷ times as many" } } },
  );
  say(`Drawn: ${good.length} of ${made.points.length} counts can run.`);
}

/** Marks at the counts themselves, or at every so many where they would stand on top of each other. */
function ticks(counts) {
  const stride = Math.ceil(counts.length / MOST_TICKS);
  const marked = counts.filter((_, place) => place % stride === 0);
  return { tickvals: marked, ticktext: marked.map(String) };
}

function days({ duration_hours: { p10, p50, p90 } }) {
  return { p10: p10 / 24, p50: p50 / 24, p90: p90 / 24 };
}

/** The curve's efficiency, count by count, where it can run. */
function efficiencies({ efficiency }) {
  return efficiency.p50
    .map((p50, place) => ({ p10: efficiency.p10[place], p50, p90: efficiency.p90[place] }))
    .filter(({ p50 }) => p50 !== null);
}

function numbers(points) {
  const cell = (value, show, pointer) =>
    value ? h("span", {}, figure(show(value.p50), `${pointer}.p50`), h("small", {}, ` ${range(value, show)}`)) : "–";
  return table(
    "Predictions by count",
    ["Accelerators", "Duration", "Cost", "MFU", "Fits", "In full"],
    points.map(({ values, estimate, problem }, place) => {
      const at = `points[${place}].estimate`;
      const count = values[VARIED];
      return estimate
        ? [
            number(count, 6),
            cell(estimate.duration_hours, duration, `${at}.duration_hours`),
            cell(estimate.cost_usd, dollars, `${at}.cost_usd`),
            cell(estimate.mfu, percent, `${at}.mfu`),
            figure(estimate.memory.fits ? "yes" : "no", `${at}.memory.fits`),
            single(count),
          ]
        : [number(count, 6), h("span", { class: "fault" }, problem.detail), "", "", "", ""];
    }),
  );
}

function single(count) {
  const parameters = new URLSearchParams(location.search);
  parameters.delete("counts");
  parameters.set(VARIED, count);
  return h("a", { href: `.?${parameters}` }, "open");
}

answer.placeOf = (field) => (field === VARIED || field.startsWith("vary") ? "counts" : field);
asking(form, answer, {
  more: (parameters) => parameters.set("counts", counts.value),
  restore: (parameters) => {
    counts.value = parameters.get("counts") ?? counts.defaultValue;
    return true;
  },
});
