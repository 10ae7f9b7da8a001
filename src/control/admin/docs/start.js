// Everything stays between this page and the gate: no validator of another host, no settings from the page's address, and a
// pasted token is forgotten when the page is left.
SwaggerUIBundle({
  url: "openapi.json",
  domNode: document.getElementById("docs"),
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  persistAuthorization: false,
  queryConfigEnabled: false,
  validatorUrl: null,
});
