// What htmx does not do by itself: the key, failures in words, and copying.
"use strict";

const notice = document.getElementById("notice");

function tell(text) {
  const line = document.createElement("p");
  line.className = "notice failed";
  line.textContent = text;
  notice.replaceChildren(line);
}

// The key lives in its field alone: nothing stores it.
document.body.addEventListener("htmx:configRequest", (event) => {
  const key = document.getElementById("key")?.value;
  if (key && event.detail.verb === "post") {
    event.detail.headers.Authorization = `Bearer ${key}`;
  }
});

document.body.addEventListener("htmx:responseError", (event) => {
  let detail = "";
  try {
    detail = JSON.parse(event.detail.xhr.response).detail;
  } catch {
    // Whatever stands between here and the service has its own pages.
  }
  tell(`The service answers ${event.detail.xhr.status}${typeof detail === "string" && detail ? `: ${detail}` : ""}`);
});

let lost = false;
for (const name of ["htmx:sendError", "htmx:timeout"]) {
  document.body.addEventListener(name, () => {
    lost = true;
    tell("The service does not answer; what is shown may be old.");
  });
}
document.body.addEventListener("htmx:beforeOnLoad", () => {
  if (lost) {
    lost = false;
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
