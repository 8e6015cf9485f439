// The page Estimate: one question, one answer.

import { estimate } from "./answer.js";
import { ask } from "./api.js";
import { pythonCall, showCall } from "./call.js";
import { byId, h, say } from "./dom.js";
import { asking, focusField, set, toParameters } from "./form.js";
import { duration, range } from "./format.js";

const form = byId("question");

async function answer(stated) {
  const made = await ask("POST", "v1/estimates", { body: stated });
  const apply = (change) => {
    set(form, change);
    form.requestSubmit();
  };
  byId("answer").replaceChildren(...estimate(made, { edit: focusField, apply }).filter(Boolean), onwards());
  showCall({
    method: "POST",
    path: "v1/estimates",
    body: stated,
    python: pythonCall("estimate", stated),
    answer: made,
  });
  say(
    made.duration_hours
      ? `Estimated: ${duration(made.duration_hours.p50)}, ${range(made.duration_hours, duration)}.`
      : "Estimated.",
  );
}

function onwards() {
  const question = toParameters(form);
  return h(
    "p",
    { class: "onwards" },
    "The same elsewhere: ",
    ["compare", "scale", "plan"].map((page) => [h("a", { href: `${page}?${question}` }, page), " "]),
  );
}

asking(form, answer);
