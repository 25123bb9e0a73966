/*
 * A form while it is filled in: questions that do not apply are hidden at once, calculated answers are filled, and a reason why
 * there is no answer takes the place of the answer. The server judges everything again when the form is saved; a hidden question
 * keeps what was typed until then, and the server asks before it removes that.
 */
(function () {
  "use strict";

  const form = document.querySelector("[data-sheet]");
  const source = document.getElementById("sheet-data");
  if (!form || !source) return;
  const { items, facts } = JSON.parse(source.textContent);
  const { read, write, evaluate, holds } = trialdmExpressions;
  const known = Object.fromEntries(Object.entries(facts).map(([name, [type, raw]]) => [name, read(type, raw)]));
  const wrapper = Object.fromEntries([...form.querySelectorAll("[data-item]")].map((part) => [part.dataset.item, part]));
  form.classList.add("live");

  // --- what stands in the fields ---------------------------------------------------------------------------------------

  const controls = (name) => [...form.querySelectorAll(`[name="answer.${name}"]`)];

  function raw(item) {
    const found = controls(item.name);
    if (!found.length) return null;
    if (item.type === "multi") return found.filter((box) => box.checked).map((box) => box.value);
    if (found[0].type === "radio") return (found.find((button) => button.checked) || { value: "" }).value;
    return normal(item.type, found[0].value.trim());
  }

  /** Dates typed the day first, and times without a colon, as the server reads them (web/typed.py). */
  function normal(type, text) {
    const date = (part) => part.replace(/^(\d{1,2})[/. -](\d{1,2})[/. -](\d{4})$/, (_, d, m, y) => `${y}-${m.padStart(2, "0")}-${d.padStart(2, "0")}`);
    const time = (part) => part.replace(/^(\d{1,2})[.:]?(\d{2})$/, (_, h, m) => `${h.padStart(2, "0")}:${m}`);
    if (type === "date") return date(text);
    if (type === "pdate") return date(text.replace(/^(\d{1,2})[/. -](\d{4})$/, (_, m, y) => `${y}-${m.padStart(2, "0")}`));
    if (type === "time") return time(text);
    if (type === "dtm") {
      const parts = text.replace(/,/g, " ").split(/[\sT]+/);
      const clock = parts.pop();
      return parts.length ? `${date(parts.join(" "))} ${time(clock)}` : text;
    }
    return text;
  }

  // --- what applies ----------------------------------------------------------------------------------------------------

  /** The items that apply and their values: an answer to a question that is not asked counts as missing. */
  function judge() {
    const typed = {};
    for (const item of items) {
      typed[item.name] = item.typed ? read(item.type, raw(item)) : item.value ? null : read(item.type, item.stored);
    }
    let shown = new Set(items.map((item) => item.name));
    let values = {};
    for (let round = 0; round <= items.length; round += 1) {
      values = { ...known };
      for (const item of items) values[item.name] = shown.has(item.name) ? typed[item.name] : null;
      for (const item of items) {
        if (item.value && shown.has(item.name)) {
          values[item.name] = read(item.type, write(evaluate(item.value, values, []), item.type, item.decimals));
        }
      }
      const now = new Set(items.filter((item) => (item.show ? holds(item.show, values, []) : item.applies)).map((item) => item.name));
      const same = now.size === shown.size && [...now].every((name) => shown.has(name));
      shown = now;
      if (same) break;
    }
    return { shown, values };
  }

  function words(item, value) {
    const stored = write(value, item.type, item.decimals);
    if (stored === null) return "–";
    return item.labels[stored] || `${stored} ${item.unit}`.trim();
  }

  function refresh() {
    const { shown, values } = judge();
    for (const item of items) {
      const part = wrapper[item.name];
      if (!part) continue;
      part.hidden = !shown.has(item.name);
      const output = item.value && part.querySelector("output");
      if (output) {
        const said = words(item, values[item.name]);
        if (output.textContent !== said) output.textContent = said;
      }
    }
    form.querySelectorAll("[data-section]").forEach((section) => {
      section.hidden = [...section.querySelectorAll("[data-item]")].every((part) => part.hidden);
    });
  }

  // --- an answer, or the reason why there is none ----------------------------------------------------------------------

  function empty(name) {
    for (const control of controls(name)) {
      if (control.type === "radio" || control.type === "checkbox") control.checked = false;
      else control.value = "";
    }
  }

  form.addEventListener("input", (event) => {
    const part = event.target.closest("[data-item]");
    if (part && event.target.matches("[data-missing]") && event.target.value) empty(part.dataset.item);
    else if (part && event.target.name.startsWith("answer.")) {
      const reason = part.querySelector("[data-missing]");
      if (reason) reason.value = "";
    }
    refresh();
  });

  refresh();
})();
