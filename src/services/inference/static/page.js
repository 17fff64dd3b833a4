// What htmx does not do by itself: the key, failures in words, and copying.
"use strict";

const notice = document.getElementById("notice");

// What the notice tells of: a look ("get"), something that was asked for ("post"), or null for anything else.
let failed = null;

function tell(text, verb) {
  failed = verb;
  const line = document.createElement("p");
  line.className = "notice failed";
  line.textContent = text;
  notice.replaceChildren(line);
}

// Milliseconds. A roll back waits for several of MLflow's answers.
const PATIENCE = { get: 10_000, post: 90_000 };

// The key lives in its field alone: nothing stores it.
document.body.addEventListener("htmx:configRequest", (event) => {
  event.detail.timeout = PATIENCE[event.detail.verb];
  if (event.detail.verb !== "post") {
    return;
  }
  // What became of the last thing that was asked for is nobody's business any more.
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
    // Whatever stands between here and the service has its own pages.
  }
  const told = typeof detail === "string" && detail ? `: ${detail}` : "";
  tell(`The service answers ${event.detail.xhr.status}${told}`, event.detail.requestConfig.verb);
});

// An answer is to the values that were sent: it goes when others stand in the form.
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
  // A good look takes away what a bad one has told, and not why something that was asked for was refused.
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
    // Browsers give the clipboard to secure pages only: select the text, so that Ctrl-C does it.
    getSelection().selectAllChildren(source);
  }
});
