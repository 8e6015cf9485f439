// Calls to the service: the same API as everybody's, with the key that this tab keeps, and its problem documents.

import { byId } from "./dom.js";

const STORED = "traincast-key";

/** A problem document (RFC 9457): what went wrong, and the fields at fault. */
export class Problem extends Error {
  constructor(status, document) {
    super(document.detail || document.title || `The service answered with status ${status}.`);
    this.status = status;
    this.errors = document.errors ?? [];
  }
}

/** The key of this tab, or null. */
export const key = () => sessionStorage.getItem(STORED);

/**
 * Asks the service, and for a key where it wants one.
 *
 * `body` is sent as JSON, or as it is where `type` names its media type. Throws Problem, also where the service cannot
 * be reached.
 */
export async function ask(method, path, { body, type, headers = {} } = {}) {
  for (;;) {
    const answer = await send(method, path, body, type, headers);
    if (answer.ok) return answer.status === 204 ? null : answer.json().catch(() => Promise.reject(unreachable()));
    const problem = new Problem(answer.status, await answer.json().catch(() => ({})));
    if (answer.status !== 401 || !(await askForKey(problem.message))) throw problem;
  }
}

async function send(method, path, body, type, given) {
  const headers = { ...given };
  if (body !== undefined) headers["content-type"] = type ?? "application/json";
  if (key()) headers.authorization = `Bearer ${key()}`;
  try {
    return await fetch(path, { method, headers, body: body === undefined || type ? body : JSON.stringify(body) });
  } catch {
    throw unreachable();
  }
}

const unreachable = () => new Problem(0, { detail: "The service cannot be reached; is it running?" });

/** Opens the dialog; true where a key was given. */
export function askForKey(reason) {
  const dialog = byId("key-dialog");
  byId("key-reason").textContent = reason;
  byId("key-input").value = "";
  dialog.returnValue = "cancel";
  if (!dialog.open) dialog.showModal();
  return new Promise((resolve) =>
    dialog.addEventListener(
      "close",
      () => {
        const given = byId("key-input").value.trim();
        if (dialog.returnValue === "use" && given) sessionStorage.setItem(STORED, given);
        if (dialog.returnValue === "forget") sessionStorage.removeItem(STORED);
        markKey();
        resolve(dialog.returnValue === "use" && given !== "");
      },
      { once: true },
    ),
  );
}

function markKey() {
  byId("key-button").textContent = key() ? "API key ✓" : "API key";
}

byId("key-button").addEventListener("click", () =>
  askForKey(
    key()
      ? "This tab has a key; another one replaces it."
      : "Reading and estimating may be open; submitting takes a key.",
  ),
);
markKey();
