// Charts in the page's colours, light or dark, by plotly.js, which is fetched when the first one is drawn.

import { byId, h } from "./dom.js";

/** Pixels below which a legend of several names takes more lines than there are above a chart. */
const NARROW = 600;

let library = null;
const drawn = new Map();

function load() {
  library ??= new Promise((resolve, reject) =>
    document.head.append(
      h("script", {
        src: "assets/plotly.min.js",
        onload: () => resolve(window.Plotly),
        onerror: () => reject(new Error("The chart library could not be loaded.")),
      }),
    ),
  );
  return library;
}

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** The style sheet's colours (Okabe and Ito's, which the colour-blind tell apart too), then a few for what is many. */
function palette() {
  const shades = Array.from({ length: 7 }, (_, place) => colour(`--s${place + 1}`));
  return [...shades, "#b8a000", "#2a9fb0", "#b3724e", "#f781bf", "#7da84f", "#8a7fd6", "#8a939c"];
}

function theme() {
  const axis = {
    gridcolor: colour("--line"),
    linecolor: colour("--line"),
    zerolinecolor: colour("--line"),
    automargin: true,
  };
  return {
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: colour("--text"), family: "system-ui, sans-serif", size: 13 },
    hoverlabel: { bgcolor: colour("--raised"), bordercolor: colour("--line"), font: { color: colour("--text") } },
    margin: { l: 60, r: 16, t: 30, b: 50 },
    // Over the chart; where that would cover a narrow one, under it.
    legend:
      window.innerWidth <= NARROW
        ? { orientation: "h", y: 0, yref: "container", yanchor: "bottom" }
        : { orientation: "h", y: 1.12 },
    xaxis: axis,
    yaxis: axis,
  };
}

function merged(base, more) {
  const made = { ...base };
  for (const [name, value] of Object.entries(more)) {
    const isObject = value && typeof value === "object" && !Array.isArray(value);
    made[name] = isObject ? merged(base[name] ?? {}, value) : value;
  }
  return made;
}

/**
 * Draws into the element of that id. `label` says what it shows to who cannot see it; `traces` makes plotly's traces
 * of a palette, anew where light turns dark; `onClick` gets the point.
 */
export async function draw(id, label, traces, layout, onClick) {
  const place = byId(id);
  place.setAttribute("role", "img");
  place.setAttribute("aria-label", label);
  const plotly = await load();
  drawn.set(id, () =>
    plotly.react(place, traces(palette()), merged(theme(), layout), {
      displaylogo: false,
      responsive: true,
      displayModeBar: false,
    }),
  );
  await drawn.get(id)();
  if (onClick) {
    place.removeAllListeners?.("plotly_click");
    place.on("plotly_click", (event) => onClick(event.points[0]));
  }
}

/** A median with its 80 % band, as traces over x. */
export function band(x, quantities, name, colour) {
  const end = (which) => quantities.map((value) => value[which]);
  const edge = { x, mode: "lines", line: { width: 0 }, hoverinfo: "skip", showlegend: false, legendgroup: name };
  return [
    { ...edge, y: end("p10") },
    { ...edge, y: end("p90"), fill: "tonexty", fillcolor: `${colour}38` },
    {
      x,
      y: end("p50"),
      name,
      mode: "lines+markers",
      line: { color: colour, width: 2 },
      marker: { size: 7 },
      legendgroup: name,
      customdata: quantities.map((value) => [value.p10, value.p90]),
      hovertemplate: "%{x}: %{y:.3s} (%{customdata[0]:.3s} to %{customdata[1]:.3s})<extra></extra>",
    },
  ];
}

window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const again of drawn.values()) again();
});
