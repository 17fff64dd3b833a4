// ReDoc on the service's own OpenAPI document; this must run before ReDoc's own script.
"use strict";

const page = document.getElementById("redoc");

// ReDoc makes styles, which the page's policy takes with its nonce only, and one picture: its maker's logo, which it
// would fetch from another site.
const createElement = document.createElement;
document.createElement = function (name, ...options) {
  const element = createElement.call(document, name === "img" ? "span" : name, ...options);
  if (name === "style") {
    element.nonce = page.dataset.nonce;
  }
  return element;
};

document.addEventListener("DOMContentLoaded", () => {
  Redoc.init("openapi.json", {}, page);
});
