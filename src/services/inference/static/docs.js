// Swagger UI on the service's own OpenAPI document.
"use strict";

SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  displayRequestDuration: true,
  // Its default sends the document's address to another site.
  validatorUrl: null,
  onComplete() {
    document.title = document.querySelector("#swagger-ui .title")?.firstChild?.textContent ?? document.title;
  },
});
