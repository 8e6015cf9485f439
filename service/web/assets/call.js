// The call behind the numbers: as curl, as Python, and its answer, in which every number on the page can be found.

import { key } from "./api.js";
import { byId, h } from "./dom.js";

/** How long a button says that it has copied. */
const SHOWN_MILLISECONDS = 1500;

/** A number on the page that leads to its place in the answer: `pointer` is its path there, as `memory.peak_gb.p50`. */
export function figure(text, pointer) {
  return h("a", { class: "figure", href: "#call", "data-pointer": pointer, title: `${pointer} in the answer` }, text);
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a.figure[data-pointer]");
  if (!link) return;
  event.preventDefault();
  show(link.dataset.pointer);
});

/** The answer as long as it stands as plain text: an element for each value is made when one is looked for. */
let shown = null;

function show(pointer) {
  const panel = byId("call");
  const answer = panel.querySelector("details.answer");
  if (!answer) return;
  answer.open = true;
  if (shown !== null) {
    answer.querySelector("pre").replaceChildren(lines(shown, "", 0));
    shown = null;
  }
  for (const line of panel.querySelectorAll(".found")) line.classList.remove("found");
  const place = panel.querySelector(`[data-at="${CSS.escape(pointer)}"]`) ?? answer;
  place.classList.add("found");
  place.scrollIntoView({ block: "center" });
  place.tabIndex = -1;
  place.focus({ preventScroll: true });
}

/**
 * Shows the call: `method` and `path`, its JSON `body` if any (or `sent`, in words, where it was a file), the `python`
 * that does the same, and the answer.
 */
export function showCall({ method, path, body, sent, python, answer }) {
  const address = new URL(path, document.baseURI).href;
  const text = JSON.stringify(answer, null, 2);
  shown = answer;
  const panel = byId("call");
  panel.hidden = false;
  panel.replaceChildren(
    h("h2", {}, "The call behind the numbers"),
    h(
      "p",
      {},
      h("code", {}, `${method} ${new URL(address).pathname}${new URL(address).search}`),
      " ",
      method === "GET" && !key() ? h("a", { href: path }, "JSON") : null,
    ),
    h(
      "div",
      { class: "actions" },
      copyButton("Copy as curl", curl(method, address, body, sent)),
      python ? copyButton("Copy as Python", python) : null,
      copyButton("Copy the answer", text),
    ),
    h(
      "details",
      { class: "snippet" },
      h("summary", {}, "curl"),
      h("pre", { tabindex: "0" }, curl(method, address, body, sent)),
    ),
    python ? h("details", { class: "snippet" }, h("summary", {}, "Python"), h("pre", { tabindex: "0" }, python)) : "",
    h("details", { class: "answer" }, h("summary", {}, "Answer"), h("pre", { tabindex: "0" }, text)),
  );
}

function copyButton(label, text) {
  return h(
    "button",
    {
      type: "button",
      onclick: async (event) => {
        const button = event.currentTarget;
        await copied(text);
        button.textContent = "Copied";
        setTimeout(() => {
          button.textContent = label;
        }, SHOWN_MILLISECONDS);
      },
    },
    label,
  );
}

async function copied(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  // Browsers give the clipboard to pages from https or this machine only; a team's service may be plain http.
  const area = h("textarea", {}, text);
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

function curl(method, address, body, sent) {
  const words = ["curl -s", quoted(address)];
  if (method !== "GET") words.splice(1, 0, `-X ${method}`);
  if (key()) words.push('-H "authorization: Bearer $KEY"');
  if (sent) words.push(`-H ${quoted(`content-type: ${sent.type}`)}`, `--data-binary ${quoted(`@${sent.name}`)}`);
  else if (body !== undefined)
    words.push("-H 'content-type: application/json'", `-d ${quoted(JSON.stringify(body, null, 2))}`);
  return words.join(" \\\n  ");
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** Python that calls a method of the client with the request's fields: `traincast.estimate(model={...}, ...)`. */
export function pythonCall(method, request) {
  const fields = Object.entries(request)
    .map(([name, value]) => `        ${name}=${literal(value)},`)
    .join("\n");
  return `${opened()}    answer = traincast.${method}(\n${fields}\n    )\nprint(answer)\n`;
}

/** Python that estimates many requests. */
export function pythonBatch(requests) {
  return `requests = ${literal(requests)}\n${opened()}    for answer in traincast.estimate_many(requests):\n        print(answer)\n`;
}

function opened() {
  const given = key() ? ", key=KEY" : "";
  const service = new URL(".", document.baseURI).href.replace(/\/$/, "");
  return `from service.client import Traincast\n\nwith Traincast("${service}"${given}) as traincast:\n`;
}

function literal(value) {
  if (value === true) return "True";
  if (value === false) return "False";
  if (value === null) return "None";
  if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`;
  if (typeof value === "object")
    return `{${Object.entries(value)
      .map(([name, part]) => `${JSON.stringify(name)}: ${literal(part)}`)
      .join(", ")}}`;
  return JSON.stringify(value);
}

/** JSON, indented, each value in an element that knows its path. */
function lines(value, at, depth) {
  const margin = "  ".repeat(depth + 1);
  if (value === null || typeof value !== "object") return h("span", { "data-at": at }, JSON.stringify(value));
  const isList = Array.isArray(value);
  const parts = Object.entries(value).map(([name, part], place, all) => {
    const path = isList ? `${at}[${name}]` : at ? `${at}.${name}` : name;
    return [
      "\n",
      margin,
      isList ? "" : `${JSON.stringify(name)}: `,
      lines(part, path, depth + 1),
      place < all.length - 1 ? "," : "",
    ];
  });
  const [open, close] = isList ? ["[", "]"] : ["{", "}"];
  return h("span", { "data-at": at }, open, ...parts.flat(), parts.length ? `\n${"  ".repeat(depth)}` : "", close);
}
