// A predicted quantity: its median in large type, its interval as a bar and in words.

import { interval } from "./bars.js";
import { figure } from "./call.js";
import { h } from "./dom.js";

/** A quantity in large type with its interval, each number leading to the answer. */
export function quantity(title, value, show, pointer) {
  if (!value) return null;
  return h(
    "div",
    { class: "quantity" },
    h("h3", {}, title),
    h("p", { class: "middle" }, figure(show(value.p50), `${pointer}.p50`)),
    interval(value),
    h(
      "p",
      { class: "ends" },
      figure(show(value.p10, value.p50), `${pointer}.p10`),
      " to ",
      figure(show(value.p90, value.p50), `${pointer}.p90`),
    ),
  );
}
