// What htmx lacks: the key, error messages, and copying.
"use strict";

const notice = document.getElementById("notice");

// The kind of request that the notice is about: a poll ("get"), an action ("post"), or null.
let failed = null;

function tell(text, verb) {
  failed = verb;
  const line = document.createElement("p");
  line.className = "notice failed";
  line.textContent = text;
  notice.replaceChildren(line);
}

// Milliseconds. A rollback waits for several answers of MLflow.
const PATIENCE = { get: 10_000, post: 90_000 };

// The key is kept in its field only and never stored.
document.body.addEventListener("htmx:configRequest", (event) => {
  event.detail.timeout = PATIENCE[event.detail.verb];
  if (event.detail.verb !== "post") {
    return;
  }
  // The last action's result is out of date.
  failed = null;
  notice.replaceChildren();
  const key = document.getElementById("key")?.value;
  if (key) {
    event.detail.headers.Authorization = `Bearer ${key}`;
  }
});

document.body.addEventListener("htmx:responseError", (event) => {
  let detail = "";
  if (event.detail.xhr.status === 401 && document.getElementById("key")) {
    tell("The key is missing or wrong; fill it in above.", "post");
    return;
  }
  try {
    detail = JSON.parse(event.detail.xhr.response).detail;
  } catch {
    // A proxy in between may answer with its own page.
  }
  const reason = typeof detail === "string" && detail ? `: ${detail}` : "";
  tell(`The service answers ${event.detail.xhr.status}${reason}`, event.detail.requestConfig.verb);
});

// An answer belongs to the submitted values: remove it when the form changes.
const answer = document.getElementById("answer");
for (const name of ["input", "reset"]) {
  document.querySelector('form[hx-target="#answer"]')?.addEventListener(name, () => answer.replaceChildren());
}

for (const name of ["htmx:sendError", "htmx:timeout"]) {
  document.body.addEventListener(name, () => {
    tell("The service does not answer; what is shown may be old.", "get");
  });
}
document.body.addEventListener("htmx:beforeOnLoad", (event) => {
  // A successful poll removes the message of a failed one, but not the message of a refused action.
  if (failed && event.detail.xhr.status < 400 && [failed, "post"].includes(event.detail.requestConfig.verb)) {
    failed = null;
    notice.replaceChildren();
  }
});

document.body.addEventListener("click", async (event) => {
  const name = event.target.dataset?.copy;
  if (!name) {
    return;
  }
  const source = document.getElementById(name);
  try {
    await navigator.clipboard.writeText(source.textContent);
    event.target.textContent = "Copied";
  } catch {
    // Only secure pages can use the clipboard: select the text for Ctrl-C instead.
    getSelection().selectAllChildren(source);
  }
});
