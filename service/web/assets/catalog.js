// Search as you type over a catalog: an ARIA combobox that offers, and never insists.

import { ask } from "./api.js";
import { h } from "./dom.js";
import { count, number } from "./format.js";

const PATIENCE_MILLISECONDS = 150;
const MOST = 8;
let boxes = 0;

/** Gives every field of the form that names a catalog (`data-catalog="PATH FIELD"`) a list of what fits. */
export function searchable(form) {
  for (const input of form.querySelectorAll("input[data-catalog]:not([role])")) combobox(input);
}

function describe(entry) {
  const facts = [];
  if (entry.parameters) facts.push(`${count(entry.parameters)} parameters`);
  if (entry.family) facts.push(entry.family.replaceAll("_", "-"));
  if (entry.memory_gb) facts.push(`${number(entry.memory_gb)} GB`);
  if (entry.bf16_tflops ?? entry.fp16_tflops) facts.push(`${number(entry.bf16_tflops ?? entry.fp16_tflops)} TFLOP/s`);
  if (entry.samples) facts.push(`${count(entry.samples)} samples`);
  if (entry.tokens) facts.push(`${count(entry.tokens)} tokens`);
  if (entry.region_name) facts.push(entry.region_name, `${number(entry.gco2e_per_kwh)} g CO₂e/kWh`);
  return facts.join(" · ");
}

function combobox(input) {
  const [path, field] = input.dataset.catalog.split(" ");
  // A field of several values is searched by the last one.
  const isList = input.dataset.kind === "list";
  const list = h("ul", {
    role: "listbox",
    id: `options-${++boxes}`,
    class: "options",
    hidden: true,
    "aria-label": "Suggestions",
  });
  input.after(list);
  for (const [name, value] of Object.entries({
    role: "combobox",
    "aria-expanded": "false",
    "aria-controls": list.id,
    "aria-autocomplete": "list",
  })) {
    input.setAttribute(name, value);
  }
  let waiting,
    asked = 0,
    active = -1;

  const close = () => {
    list.hidden = true;
    active = -1;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  };
  const choose = (value) => {
    const before = isList
      ? input.value
          .split(",")
          .slice(0, -1)
          .map((part) => part.trim())
      : [];
    input.value = [...before, value].join(", ");
    close();
    input.dispatchEvent(new Event("change", { bubbles: true }));
  };
  const mark = (place) => {
    active = (place + list.children.length) % list.children.length;
    for (const [at, option] of [...list.children].entries())
      option.setAttribute("aria-selected", String(at === active));
    input.setAttribute("aria-activedescendant", list.children[active].id);
    list.children[active].scrollIntoView({ block: "nearest" });
  };
  const offer = async () => {
    const text = isList ? input.value.split(",").pop().trim() : input.value.trim();
    const mine = ++asked;
    if (!text) return close();
    const page = await ask("GET", `${path}?${new URLSearchParams({ q: text, limit: MOST })}`).catch(() => null);
    if (mine !== asked || document.activeElement !== input || !page) return;
    list.replaceChildren(
      ...page.items.map((entry, place) =>
        h(
          "li",
          {
            role: "option",
            id: `${list.id}-${place}`,
            "aria-selected": "false",
            onmousedown: (event) => {
              event.preventDefault();
              choose(entry[field]);
            },
          },
          h("span", {}, entry[field]),
          h("small", {}, describe(entry)),
        ),
      ),
    );
    active = -1;
    list.hidden = !page.items.length;
    input.setAttribute("aria-expanded", String(!list.hidden));
  };

  input.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(offer, PATIENCE_MILLISECONDS);
  });
  input.addEventListener("blur", () => {
    clearTimeout(waiting);
    asked++;
    close();
  });
  input.addEventListener("keydown", (event) => {
    if (list.hidden) {
      if (event.key === "ArrowDown") {
        event.preventDefault();
        offer();
      }
      return;
    }
    if (event.key === "ArrowDown") mark(active + 1);
    else if (event.key === "ArrowUp") mark(active - 1);
    else if (event.key === "Enter" && active >= 0) choose(list.children[active].firstChild.textContent);
    else if (event.key === "Escape") close();
    else return;
    event.preventDefault();
  });
}
