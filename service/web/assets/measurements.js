// The page Measurements: find them, look at one with its source and its residual.

import { ask } from "./api.js";
import { interval } from "./bars.js";
import { figure, showCall } from "./call.js";
import { searchable } from "./catalog.js";
import { byId, h, say, table } from "./dom.js";
import { clearFaults, showFaults } from "./form.js";
import { count, number, percent, words } from "./format.js";

const form = byId("question");
const PAGE = 50;
/** Characters from which a value gets a line of its own. */
const LONG = 60;
const SECTIONS = ["model", "data", "hardware", "training", "software", "result", "provenance"];

const filters = () =>
  new URLSearchParams(
    [...new FormData(form)].map(([name, value]) => [name, value.trim()]).filter(([, value]) => value),
  );

async function search() {
  clearFaults(form);
  say("Searching …");
  const rows = h("tbody");
  const more = h("button", { type: "button" }, "More");
  let cursor = null;
  const next = async () => {
    let path;
    let page;
    // Among many measurements a page may be empty and yet not the last.
    do {
      const parameters = filters();
      parameters.set("limit", PAGE);
      if (cursor) parameters.set("cursor", cursor);
      path = `v1/measurements?${parameters}`;
      page = await ask("GET", path);
      cursor = page.next_cursor;
    } while (cursor && !page.items.length);
    rows.append(...page.items.map(row));
    more.hidden = !cursor;
    showCall({ method: "GET", path, answer: page });
    say(
      rows.children.length
        ? `${rows.children.length} shown${cursor ? ", and there are more" : ""}.`
        : "Nothing fits; loosen a filter.",
    );
  };
  try {
    await next();
  } catch (problem) {
    byId("answer").replaceChildren();
    return showFaults(form, problem);
  }
  more.addEventListener("click", () => next().catch((problem) => showFaults(form, problem)));
  const listed = table(
    "Measurements",
    ["Model", "Accelerators", "Precision", "Speed", "Unit", "Measured", "Source", "Status"],
    [],
    { class: "list" },
  );
  listed.querySelector("tbody").replaceWith(rows);
  byId("answer").replaceChildren(listed, more);
}

function row(one) {
  const open = (event) => {
    event.preventDefault();
    go(one.id);
  };
  const { model, hardware, training, result, provenance } = one;
  return h(
    "tr",
    {},
    h(
      "th",
      { scope: "row" },
      h(
        "a",
        { href: `measurements?id=${encodeURIComponent(one.id)}`, onclick: open },
        model.name ?? words(model.family ?? "a shape"),
      ),
    ),
    h("td", {}, `${hardware.count ?? "?"} × ${hardware.accelerator}`),
    h("td", {}, training.precision ?? "–"),
    h(
      "td",
      { class: "right" },
      result.value === undefined || result.value === null
        ? result.out_of_memory
          ? "out of memory"
          : "–"
        : count(result.value),
    ),
    h("td", {}, words(result.unit ?? "")),
    h("td", {}, provenance.measured_on ?? "–"),
    h("td", {}, provenance.source ?? "–"),
    h("td", {}, one.status),
  );
}

function go(id) {
  const parameters = filters();
  parameters.set("id", id);
  history.pushState(null, "", `${location.pathname}?${parameters}`);
  return show(id);
}

async function show(id) {
  const path = `v1/measurements/${encodeURIComponent(id)}`;
  const panel = byId("detail");
  try {
    const one = await ask("GET", path);
    panel.replaceChildren(...detail(one).filter(Boolean));
    panel.hidden = false;
    showCall({ method: "GET", path, answer: one });
    panel.scrollIntoView({ block: "start" });
    panel.focus({ preventScroll: true });
  } catch (problem) {
    panel.hidden = true;
    showFaults(form, problem);
  }
}

function detail(one) {
  const { hardware, model } = one;
  return [
    h(
      "div",
      { class: "card" },
      h(
        "div",
        { class: "titled" },
        h(
          "h2",
          {},
          `${model.name ?? words(model.family ?? "A model")} on ${hardware.count ?? "?"} × ${hardware.accelerator}`,
        ),
        h("button", { type: "button", onclick: close }, "Close"),
      ),
      h(
        "p",
        {},
        h("span", { class: `badge ${one.status === "accepted" ? "measured" : "interpolated"}` }, one.status),
        " ",
        one.status_reason ?? "",
        " ",
        h("a", { href: `.?${configuration(one)}` }, "Estimate this configuration"),
      ),
      residual(one),
      source(one),
      h(
        "div",
        { class: "columns" },
        SECTIONS.filter((name) => one[name] && Object.keys(one[name]).length).map((name) =>
          h(
            "section",
            {},
            h("h3", {}, words(name)),
            h(
              "dl",
              { class: "facts" },
              Object.entries(one[name]).map(([field, value]) =>
                h(
                  "div",
                  { class: String(value).length > LONG ? "long" : null },
                  h("dt", {}, words(field)),
                  h(
                    "dd",
                    {},
                    figure(typeof value === "object" ? JSON.stringify(value) : String(value), `${name}.${field}`),
                  ),
                ),
              ),
            ),
          ),
        ),
      ),
    ),
  ];
}

function residual(one) {
  const made = one.residual;
  if (!made) return h("p", { class: "help" }, `Not compared with a forecast: ${one.residual_reason}.`);
  const unit = words(made.unit);
  const most = Math.max(made.measured, made.predicted.p90) * 1.1;
  return h(
    "div",
    { class: "quantity wide" },
    h("h3", {}, "Measured, and predicted as a new site would be"),
    h(
      "p",
      {},
      figure(`${count(made.measured)} ${unit}`, "residual.measured"),
      " measured (red in the bar); predicted ",
      figure(count(made.predicted.p50), "residual.predicted.p50"),
      ` (${count(made.predicted.p10)} to ${count(made.predicted.p90)}), `,
      made.within_interval ? "which holds it." : "which does not hold it.",
    ),
    interval(made.predicted, most, made.measured),
    h(
      "p",
      { class: "help" },
      "Predicted over measured time per sample: ",
      figure(number(made.time_ratio), "residual.time_ratio"),
      "; ",
      h("span", { class: `badge ${made.grade}` }, made.grade),
      " with calibration ",
      h("a", { href: "accuracy" }, made.calibration),
      ".",
    ),
  );
}

function source(one) {
  const from = one.source;
  if (!from) return null;
  return h(
    "p",
    {},
    h("strong", {}, from.title),
    [from.publisher, from.date, from.reference, from.licence].filter(Boolean).map((text) => ` · ${text}`),
    one.provenance.locator ? ` · ${one.provenance.locator}` : "",
    from.residual === null ? "" : [" · typical error unseen: ", figure(percent(from.residual), "source.residual")],
  );
}

function configuration(one) {
  const parameters = new URLSearchParams();
  for (const section of ["model", "data", "hardware", "training", "software"]) {
    for (const [name, value] of Object.entries(one[section] ?? {}))
      parameters.set(`${section}.${name}`, typeof value === "object" ? JSON.stringify(value) : value);
  }
  return parameters;
}

function close() {
  byId("detail").hidden = true;
  history.pushState(null, "", `${location.pathname}?${filters()}`);
  form.querySelector("button").focus();
}

async function sources() {
  let cursor = null;
  do {
    const page = await ask("GET", `v1/sources?limit=1000${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`);
    form.elements.source.append(...page.items.map(({ name, title }) => h("option", { value: name, title }, name)));
    cursor = page.next_cursor;
  } while (cursor);
}

async function open() {
  const parameters = new URLSearchParams(location.search);
  for (const control of form.elements) if (control.name) control.value = parameters.get(control.name) ?? "";
  byId("detail").hidden = true;
  const searched = search();
  if (parameters.get("id")) {
    await searched;
    await show(parameters.get("id"));
  }
  await searched;
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  history.pushState(null, "", `${location.pathname}?${filters()}`);
  search();
});
form.addEventListener("reset", () => setTimeout(() => form.requestSubmit()));
window.addEventListener("popstate", open);
searchable(form);
await sources().catch((problem) => showFaults(form, problem));
await open();
