// Bars drawn by hand: an interval with its median, and a whole made of parts. The numbers stand beside them as text.

import { h, s } from "./dom.js";

/** Classes of the parts' colours, in order. */
export const SHADES = Array.from({ length: 8 }, (_, place) => `shade-${place + 1}`);

/** A bar from p10 to p90 with a tick at the median, on a scale from 0 to `most`; `mark` is a value to point out on it. */
export function interval(quantity, most = quantity.p90 * 1.1, mark = null) {
  const at = (value) => Math.min(100, Math.max(0, (100 * value) / (most || 1)));
  const [low, middle, high] = [quantity.p10, quantity.p50, quantity.p90].map(at);
  return s(
    "svg",
    { class: "interval", viewBox: "0 0 100 12", preserveAspectRatio: "none", "aria-hidden": "true" },
    s("rect", { class: "track", x: 0, y: 5, width: 100, height: 2 }),
    s("rect", { class: "band", x: low, y: 2, width: Math.max(high - low, 0.5), height: 8 }),
    s("line", { class: "median", x1: middle, x2: middle, y1: 0, y2: 12 }),
    mark === null ? null : s("rect", { class: "mark", x: at(mark) - 0.4, y: 0, width: 0.8, height: 12 }),
  );
}

/**
 * A bar of parts, largest first, with a legend of what each is.
 *
 * `parts` are values by name; `show` writes a value; `most` is the whole bar's length (the parts' sum if not given);
 * `limit` is marked by a line where it is given; `legendOf` makes a legend's text of a part's name.
 */
export function stack(parts, show, { most, limit, legendOf = (name, text) => `${name} ${text}` } = {}) {
  const shown = Object.entries(parts)
    .filter(([, value]) => value > 0)
    .sort((one, other) => other[1] - one[1]);
  const total = shown.reduce((sum, [, value]) => sum + value, 0);
  const whole = most ?? total;
  let start = 0;
  const pieces = shown.map(([name, value], place) => {
    const piece = s(
      "rect",
      {
        class: SHADES[Math.min(place, SHADES.length - 1)],
        x: (100 * start) / whole,
        y: 0,
        width: (100 * value) / whole,
        height: 20,
      },
      s("title", {}, `${name}: ${show(value)}`),
    );
    start += value;
    return piece;
  });
  const mark = limit
    ? s("line", { class: "limit", x1: (100 * limit) / whole, x2: (100 * limit) / whole, y1: 0, y2: 20 })
    : null;
  return h(
    "div",
    { class: "stack" },
    s(
      "svg",
      { viewBox: "0 0 100 20", preserveAspectRatio: "none", "aria-hidden": "true" },
      s("rect", { class: "track", x: 0, y: 0, width: 100, height: 20 }),
      ...pieces,
      mark,
    ),
    h(
      "ul",
      { class: "legend" },
      shown.map(([name, value], place) =>
        h(
          "li",
          {},
          h("span", { class: `swatch ${SHADES[Math.min(place, SHADES.length - 1)]}` }),
          legendOf(name, show(value)),
        ),
      ),
    ),
  );
}
