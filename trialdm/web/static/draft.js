/*
 * What is typed into a form is kept on the server, for whoever typed it alone, until it is saved; and nobody leaves the page
 * with something that is not saved without being asked. Enter in a field moves nothing and saves nothing.
 */
(function () {
  "use strict";

  const form = document.querySelector("[data-draft]");
  if (!form) return;
  const kept = form.querySelector("[data-kept]");
  const PAUSE = 3000;
  let changed = false;
  let timer = 0;

  function stop() {
    window.clearTimeout(timer);
    timer = 0;
  }

  function keep() {
    stop();
    if (!changed) return;
    fetch(form.dataset.draft, { method: "POST", body: new FormData(form), credentials: "same-origin", keepalive: true })
      .then((answer) => {
        if (!answer.ok) throw new Error(answer.status);
        const now = new Date().toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
        kept.textContent = `Kept for you at ${now}, not saved yet.`;
      })
      .catch(() => {
        kept.textContent = "What you type is not kept at the moment: save before you leave the page.";
      });
  }

  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "hidden" && timer) keep();
  });

  form.addEventListener("input", () => {
    changed = true;
    if (!timer) timer = window.setTimeout(keep, PAUSE);
  });

  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && event.target.matches("input:not([type=submit])")) event.preventDefault();
  });

  form.addEventListener("submit", () => {
    changed = false;
    stop();
  });

  window.addEventListener("beforeunload", (event) => {
    if (changed) event.preventDefault();
  });
})();
