// The page Accuracy: how good the calibration in use is, on what it had not seen and on what came after it.

import { ask } from "./api.js";
import { figure, showCall } from "./call.js";
import { draw } from "./chart.js";
import { byId, h, say, table } from "./dom.js";
import { showFaults } from "./form.js";
import { number, percent, words } from "./format.js";

const CURRENT = "v1/calibrations/current";
const POINTS = "v1/calibrations/current/measurements";
const CLASSES = { transformer: "Transformers", other: "others" };

function overview(current) {
  const { accuracy, track_record: record } = current;
  const scores = Object.entries(CLASSES)
    .filter(([name]) => accuracy.overall[name])
    .map(([name, title]) => {
      const [cold, warm] = [accuracy.overall[name], accuracy.warm.overall[name]];
      return h(
        "section",
        { class: "card" },
        h("h2", {}, title[0].toUpperCase() + title.slice(1)),
        h("p", { class: "middle" }, figure(percent(cold.mape), `accuracy.overall.${name}.mape`)),
        h(
          "p",
          {},
          "mean error of a source that the fit had not seen; median over sources ",
          figure(percent(cold.median_ape), `accuracy.overall.${name}.median_ape`),
          "; the rule of thumb errs by ",
          figure(percent(cold.rule_of_thumb_mape), `accuracy.overall.${name}.rule_of_thumb_mape`),
          ".",
        ),
        warm
          ? h(
              "p",
              {},
              `After ${accuracy.warm.rows_learned} own rows: `,
              figure(percent(warm.mape), `accuracy.warm.overall.${name}.mape`),
              ".",
            )
          : "",
        h(
          "p",
          {},
          "80 % intervals hold ",
          figure(percent(cold.coverage_80), `accuracy.overall.${name}.coverage_80`),
          ` of ${number(cold.rows, 6)} rows of ${cold.sources} sources.`,
        ),
      );
    });
  byId("overview").replaceChildren(
    ...scores,
    h(
      "section",
      { class: "card" },
      h("h2", {}, "Track record"),
      record.n
        ? [
            h("p", { class: "middle" }, figure(percent(record.mape), "track_record.mape")),
            h(
              "p",
              {},
              "mean error of ",
              figure(number(record.n, 6), "track_record.n"),
              " forecasts whose runs were measured later; intervals held ",
              figure(percent(record.coverage_80), "track_record.coverage_80"),
              ".",
            ),
          ]
        : h(
            "p",
            {},
            "No forecast of this service was measured yet: submit a measurement with the id of a saved estimate.",
          ),
    ),
    h(
      "section",
      { class: "card" },
      h("h2", {}, "Calibration"),
      h(
        "p",
        {},
        figure(current.version, "version"),
        ", on ",
        figure(number(current.measurements, 6), "measurements"),
        " measurements",
        current.activated_at ? `, in use since ${current.activated_at.slice(0, 10)}` : "",
        ".",
      ),
      h("details", {}, h("summary", {}, "How it was measured"), h("p", { class: "help" }, accuracy.protocol)),
    ),
  );
}

async function scatter(points) {
  const families = [...new Set(points.items.map(({ family }) => family))].sort();
  const select = byId("family");
  select.append(...families.map((family) => h("option", { value: family }, words(family))));
  byId("scatter-note").textContent =
    `${number(points.items.length, 6)} of ${number(points.measurements, 6)} measurements. ${points.note.replaceAll("`", "")} A point leads to its measurement.`;
  const redraw = async () => {
    const shown = points.items.filter(({ family }) => !select.value || family === select.value);
    const ends = shown.flatMap(({ measured_seconds, predicted_seconds }) => [measured_seconds, predicted_seconds]);
    const [low, high] = [Math.min(...ends) * 0.7, Math.max(...ends) * 1.4];
    const guide = (factor, dash) => ({
      x: [low, high],
      y: [low * factor, high * factor],
      mode: "lines",
      line: { color: "#888", width: 1, dash },
      hoverinfo: "skip",
      showlegend: false,
    });
    const traces = (palette) =>
      families
        .filter((family) => shown.some((point) => point.family === family))
        .map((family) => {
          const mine = shown.filter((point) => point.family === family);
          return {
            x: mine.map((point) => point.measured_seconds),
            y: mine.map((point) => point.predicted_seconds),
            text: mine.map((point) => `${point.model ?? family} on ${point.accelerator}<br>${point.lineage}`),
            customdata: mine.map(({ id }) => id),
            name: words(family),
            mode: "markers",
            marker: { size: 5, opacity: 0.6, color: palette[families.indexOf(family) % palette.length] },
            hovertemplate: "%{text}<br>measured %{x:.3s}s, predicted %{y:.3s}s<extra></extra>",
          };
        });
    const axis = (title) => ({
      type: "log",
      title: { text: title },
      exponentformat: "SI",
      minexponent: 0,
      dtick: 1,
      range: [Math.log10(low), Math.log10(high)],
    });
    await draw(
      "scatter",
      `Predicted against measured seconds per sample of ${shown.length} measurements`,
      (palette) => [guide(1, "solid"), guide(2, "dot"), guide(0.5, "dot"), ...traces(palette)],
      { xaxis: axis("measured, seconds per sample"), yaxis: axis("predicted, seconds per sample") },
      (point) => {
        if (point.customdata) location.assign(`measurements?id=${encodeURIComponent(point.customdata)}`);
      },
    );
  };
  select.addEventListener("change", redraw);
  await redraw();
}

async function reliability(accuracy) {
  const diagonal = {
    x: [0, 1],
    y: [0, 1],
    mode: "lines",
    line: { color: "#888", width: 1 },
    hoverinfo: "skip",
    showlegend: false,
  };
  const lines = Object.entries(CLASSES)
    .flatMap(([name, title], place) => [
      { points: accuracy.reliability[name], label: title, place, dash: "solid" },
      { points: accuracy.warm.reliability[name], label: `${title}, after own rows`, place, dash: "dot" },
    ])
    .filter(({ points }) => points?.length);
  const traces = (palette) => [
    diagonal,
    ...lines.map(({ points, label, place, dash }) => ({
      x: points.map(({ nominal }) => nominal),
      y: points.map(({ observed }) => observed),
      name: label,
      mode: "lines+markers",
      line: { color: palette[place], dash },
    })),
  ];
  const axis = (title) => ({ range: [0, 1], tickformat: ".0%", title: { text: title } });
  await draw(
    "reliability",
    "Reliability diagram: share of measurements that intervals hold, against what they promise",
    traces,
    { xaxis: axis("what the interval promises"), yaxis: axis("what it held") },
  );
}

function families(accuracy) {
  const rows = Object.entries(accuracy.by_family_over_lineages).map(([name, one]) => {
    const at = `accuracy.by_family_over_lineages.${name}`;
    return [
      words(name),
      number(one.sources),
      figure(percent(one.mape), `${at}.mape`),
      figure(percent(one.median_ape), `${at}.median_ape`),
      percent(one.rule_of_thumb_mape),
      figure(percent(one.coverage_80), `${at}.coverage_80`),
    ];
  });
  byId("families").replaceChildren(
    table(
      "Errors by family",
      ["Family", "Lineages", "Mean error", "Median error", "Rule of thumb, mean", "80 % intervals hold"],
      rows,
    ),
  );
}

async function sources(accuracy) {
  const entries = Object.entries(accuracy.by_source)
    .filter(([, one]) => one.median_ape !== null)
    .sort(([, one], [, other]) => one.median_ape - other.median_ape);
  const names = entries.map(([name]) => name);
  const bar = (key, name, color) => ({
    type: "bar",
    orientation: "h",
    y: names,
    x: entries.map(([, one]) => one[key]),
    name,
    marker: { color },
    hovertemplate: "%{y}: %{x:.0%}<extra></extra>",
  });
  byId("sources").classList.add("tall");
  await draw(
    "sources",
    "Median error by source, beside the rule of thumb",
    ([first]) => [
      bar("median_ape", "Traincast, source unseen", first),
      bar("rule_of_thumb_median_ape", "rule of thumb", "#9aa3ab"),
    ],
    {
      barmode: "group",
      height: 120 + 24 * names.length,
      bargap: 0.25,
      xaxis: { rangemode: "tozero", tickformat: ".0%", side: "top" },
      yaxis: { autorange: "reversed", tickfont: { size: 11 } },
      margin: { t: 70 },
      legend: { y: 1, yref: "container", yanchor: "top" },
    },
    (point) => location.assign(`measurements?source=${encodeURIComponent(point.y)}`),
  );
  const rows = entries.map(([name, one]) => {
    const at = `accuracy.by_source.${name}`;
    return [
      h("a", { href: `measurements?source=${encodeURIComponent(name)}` }, name),
      number(one.n, 6),
      figure(percent(one.median_ape), `${at}.median_ape`),
      figure(percent(one.mape), `${at}.mape`),
      figure(number(one.bias), `${at}.bias`),
      figure(percent(one.coverage_80), `${at}.coverage_80`),
    ];
  });
  byId("sources-table").replaceChildren(
    h(
      "details",
      {},
      h("summary", {}, "The same in numbers"),
      table(
        "Errors by source",
        ["Source", "Rows", "Median error", "Mean error", "Bias, ln", "80 % intervals hold"],
        rows,
      ),
    ),
  );
}

try {
  const [current, points] = await Promise.all([ask("GET", CURRENT), ask("GET", POINTS)]);
  showCall({ method: "GET", path: CURRENT, answer: current });
  overview(current);
  families(current.accuracy);
  await Promise.all([scatter(points), reliability(current.accuracy), sources(current.accuracy)]);
  say("");
} catch (problem) {
  showFaults(null, problem);
}
