/*
 * What every page does with JavaScript: an error summary takes the focus, a session that is about to end says so, and the page
 * of an export or a rehearsal looks whether it is ready. Every page works without this file.
 */
(function () {
  "use strict";

  const summary = document.querySelector(".error-summary[tabindex]");
  if (summary) summary.focus();

  /** Links of an error summary put the focus into the field, not only the page there. */
  document.querySelectorAll(".error-summary a[href^='#']").forEach((link) => {
    link.addEventListener("click", (event) => {
      const field = document.getElementById(link.hash.slice(1));
      if (!field) return;
      event.preventDefault();
      const within = field.closest("details");
      if (within) within.open = true;
      field.scrollIntoView({ block: "center" });
      field.focus();
    });
  });

  // --- the session -----------------------------------------------------------------------------------------------------

  const idle = Number(document.body.dataset.idleMinutes || 0);
  const WARN_BEFORE = 5;

  function warn() {
    const notice = document.createElement("div");
    notice.className = "session-notice";
    notice.setAttribute("role", "alertdialog");
    notice.setAttribute("aria-labelledby", "session-words");
    const words = document.createElement("p");
    words.id = "session-words";
    words.textContent = `You will be signed out in ${WARN_BEFORE} minutes, and what you typed would not be saved.`;
    const stay = document.createElement("button");
    stay.type = "button";
    stay.className = "btn btn-primary";
    stay.textContent = "Stay signed in";
    stay.addEventListener("click", () => {
      fetch("/help", { credentials: "same-origin" }).then(() => {
        notice.remove();
        wait();
      });
    });
    notice.append(words, stay);
    document.body.append(notice);
    stay.focus();
  }

  function wait() {
    window.setTimeout(warn, (idle - WARN_BEFORE) * 60 * 1000);
  }

  if (idle > WARN_BEFORE) wait();

  // --- an export that is being made, a rehearsal that is running -------------------------------------------------------

  const waiting = document.querySelector("[data-poll]");

  function look() {
    fetch(waiting.dataset.poll, { headers: { Accept: "application/json" }, credentials: "same-origin" })
      .then((answer) => (answer.ok ? answer.json() : Promise.reject(answer.status)))
      .then((job) => {
        if (job.state === "done" || job.state === "failed") window.location.reload();
        else {
          const bar = waiting.querySelector("progress");
          if (job.total) bar.value = job.done;
          waiting.querySelector(".lead").textContent = job.state === "waiting" ? "Waiting for its turn." : `Now: ${job.step || "starting"}.`;
          window.setTimeout(look, 1500);
        }
      })
      .catch(() => window.setTimeout(look, 5000));
  }

  if (waiting) window.setTimeout(look, 1000);

  const again = document.querySelector("[data-again]");
  if (again) window.setTimeout(() => window.location.reload(), Number(again.dataset.again) * 1000);
})();
