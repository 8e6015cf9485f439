// The page Scale: one training on more and more accelerators of a kind.

import { ask } from "./api.js";
import { figure, pythonBatch, showCall } from "./call.js";
import { band, draw } from "./chart.js";
import { byId, h, say, table } from "./dom.js";
import { asking, parsed } from "./form.js";
import { dollars, duration, number, percent, range } from "./format.js";

const form = byId("question");
const counts = byId("f-counts");

async function answer(base) {
  const wanted = counts.value
    .split(",")
    .map((text) => parsed(text))
    .filter((value) => value !== "");
  const requests = wanted.map((count) => ({ ...base, hardware: { ...base.hardware, count } }));
  const made = await ask("POST", "v1/estimates/batch", { body: requests });
  const points = made.map((estimate, place) => ({ count: wanted[place], place, estimate }));
  const good = points.filter(({ estimate }) => estimate.throughput);
  showCall({ method: "POST", path: "v1/estimates/batch", body: requests, python: pythonBatch(requests), answer: made });
  if (!good.length)
    throw Object.assign(new Error(made[0]?.detail ?? "Give at least one count."), { errors: made[0]?.errors ?? [] });
  const isTimed = Boolean(good[0].estimate.duration_hours);
  byId("answer").replaceChildren(
    h(
      "section",
      { class: "card" },
      h("h2", {}, isTimed ? "Days" : "Samples per second"),
      h("div", { id: "time", class: "chart" }),
    ),
    isTimed && good.some(({ estimate }) => estimate.cost_usd)
      ? h("section", { class: "card" }, h("h2", {}, "Cost"), h("div", { id: "cost", class: "chart" }))
      : "",
    h("section", { class: "card" }, h("h2", {}, "In numbers"), numbers(points)),
  );
  const x = good.map(({ count }) => count);
  const axis = {
    xaxis: { type: "log", title: { text: "accelerators" }, tickvals: x, ticktext: x.map(String) },
    showlegend: false,
  };
  const days = ({ p10, p50, p90 }) => ({ p10: p10 / 24, p50: p50 / 24, p90: p90 / 24 });
  const time = good.map(({ estimate }) =>
    isTimed ? days(estimate.duration_hours) : estimate.throughput.samples_per_second,
  );
  await draw(
    "time",
    `${isTimed ? "Days" : "Samples per second"} against accelerators, with 80 % bands`,
    ([first]) => band(x, time, "median", first),
    { ...axis, yaxis: { type: "log", title: { text: isTimed ? "days" : "samples per second" } } },
  );
  if (byId("cost")) {
    const priced = good.filter(({ estimate }) => estimate.cost_usd);
    await draw(
      "cost",
      "Cost against accelerators, with 80 % bands",
      ([, second]) =>
        band(
          priced.map(({ count }) => count),
          priced.map(({ estimate }) => estimate.cost_usd),
          "median",
          second,
        ),
      { ...axis, yaxis: { rangemode: "tozero", title: { text: "USD" } } },
    );
  }
  say(`Drawn: ${good.length} of ${points.length} counts can run.`);
}

function numbers(points) {
  const cell = (value, show, pointer) =>
    value ? h("span", {}, figure(show(value.p50), `${pointer}.p50`), h("small", {}, ` ${range(value, show)}`)) : "–";
  return table(
    "Predictions by count",
    ["Accelerators", "Duration", "Cost", "MFU", "Fits", "In full"],
    points.map(({ count, place, estimate }) =>
      estimate.throughput
        ? [
            number(count, 6),
            cell(estimate.duration_hours, duration, `[${place}].duration_hours`),
            cell(estimate.cost_usd, dollars, `[${place}].cost_usd`),
            cell(estimate.mfu, percent, `[${place}].mfu`),
            figure(estimate.memory.fits ? "yes" : "no", `[${place}].memory.fits`),
            single(count),
          ]
        : [number(count, 6), h("span", { class: "fault" }, estimate.detail), "", "", "", ""],
    ),
  );
}

function single(count) {
  const parameters = new URLSearchParams(location.search);
  parameters.delete("counts");
  parameters.set("hardware.count", count);
  return h("a", { href: `.?${parameters}` }, "open");
}

answer.placeOf = (field) => (field === "hardware.count" ? "counts" : field);
asking(form, answer, {
  more: (parameters) => parameters.set("counts", counts.value),
  restore: (parameters) => {
    counts.value = parameters.get("counts") ?? counts.defaultValue;
    return true;
  },
});
