// Forms over the vocabulary: what was stated as a request, the same in the page's address, and faults at their fields.

import { searchable } from "./catalog.js";
import { byId, h, say } from "./dom.js";

/** Pixels below which the answer stands under the form, as in the style sheet. */
const NARROW = 820;
const SUFFIXES = { k: 1e3, m: 1e6, b: 1e9, g: 1e9, t: 1e12 };

/**
 * A number as people write it (300e9, 1,281,167, 7 B, 1.4T), or the text itself, for the service to object to.
 *
 * Separators stand between groups of three digits only, so that 7,5 isn't taken for 75. What is too large for a number
 * stays text as well: as JSON it would be null, which states nothing.
 */
export function parsed(text) {
  const found = /^([+-]?(?:(?:\d{1,3}(?:[,_ ]\d{3})+|\d+)\.?\d*|\.\d+)(?:e[+-]?\d+)?)\s*([kmbgt])?$/i.exec(text.trim());
  if (!found) return text;
  const value = Number(found[1].replaceAll(/[,_ ]/g, "")) * (found[2] ? SUFFIXES[found[2].toLowerCase()] : 1);
  return Number.isFinite(value) ? value : text;
}

function typed(control) {
  const text = control.value.trim();
  switch (control.dataset.kind) {
    case "number":
      return parsed(text);
    case "flag":
      return text === "true";
    case "list":
      return text
        .split(",")
        .map((part) => part.trim())
        .filter(Boolean);
    case "numbers":
      return text
        .split(",")
        .map((part) => parsed(part))
        .filter((part) => part !== "");
    case "json":
      return JSON.parse(text);
    default:
      return text;
  }
}

const named = (form) => [...form.elements].filter((control) => control.name && control.dataset.kind);

/** What the form states, nested as the API takes it. Throws a fault where pasted JSON cannot be read. */
export function request(form) {
  const made = {};
  for (const control of named(form)) {
    if (!control.value.trim()) continue;
    let value;
    try {
      value = typed(control);
    } catch (error) {
      throw Object.assign(new Error(`${control.name}: this is not JSON`), {
        errors: [{ field: control.name, message: `is not JSON: ${error.message}`, hint: "paste the whole file" }],
      });
    }
    const [section, name] = control.name.includes(".") ? control.name.split(".") : [null, control.name];
    if (section) made[section] = { ...made[section], [name]: value };
    else made[name] = value;
  }
  return made;
}

/** What the form states as the page's address has it. */
export function toParameters(form) {
  const parameters = new URLSearchParams();
  for (const control of named(form)) {
    const text = control.value.trim();
    if (text) parameters.set(control.name, control.dataset.kind === "json" ? text.replaceAll(/\s+/g, " ") : text);
  }
  return parameters;
}

/** Fills the form from an address; true where that says anything. Fields folded away are unfolded. */
export function fill(form, parameters) {
  let stated = false;
  for (const control of named(form)) {
    assign(control, parameters.get(control.name) ?? "");
    if (control.value) {
      stated = true;
      control.closest("details")?.setAttribute("open", "");
    }
  }
  return stated;
}

/** Gives a field its text; a list gets what it lacks (bfloat16 for bf16), for the service to understand or refuse. */
function assign(control, text) {
  if (control.options && ![...control.options].some(({ value }) => value === text)) control.add(new Option(text));
  control.value = text;
}

/** Sets fields by dotted name, and unfolds them. */
export function set(form, changes) {
  for (const [name, value] of Object.entries(changes)) {
    const control = form.elements.namedItem(name);
    if (!control) continue;
    assign(control, value === null ? "" : String(value));
    control.closest("details")?.setAttribute("open", "");
  }
}

/** Puts the caret into the field of that name. */
export function focusField(name) {
  const control = byId(`f-${name}`);
  if (!control) return;
  control.closest("details")?.setAttribute("open", "");
  control.focus();
}

/** Takes all faults off the form. */
export function clearFaults(form) {
  byId("faults").replaceChildren();
  if (!form) return;
  for (const place of form.querySelectorAll(".fault")) place.remove();
  for (const control of form.querySelectorAll("[aria-invalid]")) {
    control.removeAttribute("aria-invalid");
    control.removeAttribute("aria-errormessage");
  }
}

/**
 * Shows a problem: at each field at fault, and in a summary that leads there; the first one gets the caret.
 *
 * `placeOf` says which control is meant where that is not the one of the field's name.
 */
export function showFaults(form, problem, placeOf = (field) => field) {
  clearFaults(form);
  const items = (problem.errors ?? []).map((error) => {
    const text = inWords(error);
    const name = nearest(form, placeOf(error.field));
    if (!name) return h("li", {}, error.field ? `${error.field}: ${text}` : text);
    showFault(byId(`f-${name}`), error);
    return h(
      "li",
      {},
      h(
        "a",
        {
          href: `#f-${name}`,
          onclick: (event) => {
            event.preventDefault();
            focusField(name);
          },
        },
        error.field,
      ),
      `: ${text}`,
    );
  });
  byId("faults").replaceChildren(
    h(
      "div",
      { class: "problem" },
      h("p", {}, items.length ? "Put this right:" : problem.message),
      items.length ? h("ul", {}, items) : "",
    ),
  );
  const first = form?.querySelector("[aria-invalid]");
  if (first) focusField(first.id.replace(/^f-/, ""));
  say("");
}

const inWords = ({ message, hint }) => `${message}${hint ? ` – ${hint}` : ""}`;

/** Says beside a control (of id `f-NAME`, in a `.field`) what is wrong with it. */
export function showFault(control, error) {
  const id = control.id.replace(/^f-/, "e-");
  const place = byId(id) ?? h("p", { class: "fault", id });
  place.textContent = [place.textContent, inWords(error)].filter(Boolean).join("; ");
  control.closest(".field").append(place);
  control.setAttribute("aria-invalid", "true");
  control.setAttribute("aria-errormessage", id);
}

function nearest(form, field) {
  if (!form || !field) return null;
  // What is inside of a field, as an element of a list or a key of a pasted file: the field.
  for (let name = field; name; name = name.replace(/(?:^|[.[])[^.[]*$/, "")) if (byId(`f-${name}`)) return name;
  // An object at fault, as `model`: its first field is where to begin.
  return named(form).find((control) => control.name.startsWith(`${field}.`))?.name ?? null;
}

/**
 * Makes a form ask: on submit, and at once where the address holds a question; the address follows what was asked.
 *
 * `answer` gets the form's request and returns a promise; what it throws is shown at the fields, in place of the
 * answer. `more` adds to the address what the form's own fields do not hold; `restore` reads that back and says whether
 * there was any.
 */
export function asking(form, answer, { more = () => {}, restore = () => true } = {}) {
  searchable(form);
  const unasked = [...byId("answer").childNodes];
  const forget = () => {
    byId("answer").replaceChildren(...unasked);
    byId("call").hidden = true;
    say("");
  };
  // Questions are answered one after the other, so that what stands at last is the answer to the latest.
  let latest = Promise.resolve();
  const go = (remember) => {
    latest = latest.then(() => answered(remember));
  };
  const answered = async (remember) => {
    clearFaults(form);
    try {
      const stated = request(form);
      const parameters = toParameters(form);
      more(parameters);
      if (remember) history.pushState(null, "", `${location.pathname}?${parameters}`);
      say("Asking …");
      await answer(stated);
      if (window.innerWidth <= NARROW) byId("status").scrollIntoView({ block: "start" });
    } catch (problem) {
      // A fault of the page itself is for its console too.
      if (problem instanceof TypeError) reportError(problem);
      forget();
      showFaults(form, problem, answer.placeOf);
    }
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    go(true);
  });
  form.addEventListener("reset", () =>
    setTimeout(() => {
      clearFaults(form);
      forget();
    }),
  );
  const open = () => {
    const parameters = new URLSearchParams(location.search);
    const stated = fill(form, parameters);
    if (restore(parameters) && stated) return go(false);
    clearFaults(form);
    forget();
  };
  window.addEventListener("popstate", open);
  open();
}
