/*
 * Security keys and passkeys: a form marked with data-key-ask asks the service for a challenge, lets the key answer it, and sends the
 * answer. Without JavaScript, or without a browser that knows such keys, these forms stay hidden and the page offers the other ways.
 */
(function () {
  "use strict";

  if (!window.PublicKeyCredential) return;

  const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (sign) => sign.charCodeAt(0));
  const text = (buffer) =>
    btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");

  /** What the service sent, with bytes where the browser wants bytes. */
  function read(options) {
    const known = (list) => (list || []).map((one) => ({ ...one, id: bytes(one.id) }));
    const found = { ...options, challenge: bytes(options.challenge) };
    if (options.user) found.user = { ...options.user, id: bytes(options.user.id) };
    if (options.excludeCredentials) found.excludeCredentials = known(options.excludeCredentials);
    if (options.allowCredentials) found.allowCredentials = known(options.allowCredentials);
    return found;
  }

  /** The key's answer as JSON. */
  function written(credential) {
    const response = {};
    for (const name of ["clientDataJSON", "attestationObject", "authenticatorData", "signature", "userHandle"]) {
      if (credential.response[name]) response[name] = text(credential.response[name]);
    }
    return JSON.stringify({ id: credential.id, rawId: text(credential.rawId), type: credential.type, response, clientExtensionResults: {} });
  }

  async function answer(form) {
    const asked = await fetch(form.dataset.keyAsk, { method: "POST", headers: { "X-CSRF-Token": form.elements.csrf_token.value } });
    if (!asked.ok || asked.redirected) return window.location.reload();
    const publicKey = read(await asked.json());
    const credential =
      form.dataset.keyKind === "new" ? await navigator.credentials.create({ publicKey }) : await navigator.credentials.get({ publicKey });
    form.elements.answer.value = written(credential);
    form.submit();
  }

  document.querySelectorAll("form[data-key-ask]").forEach((form) => {
    form.hidden = false;
    const problem = form.querySelector(".key-problem");
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      problem.hidden = true;
      answer(form).catch(() => {
        problem.hidden = false;
      });
    });
  });
})();
