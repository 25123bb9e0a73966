/* Runs the browser's evaluator over cases from standard input and prints one result for each, as the table writes them. */
"use strict";
const fs = require("fs");
require(process.argv[2]);
const { read, write, evaluate, holds } = globalThis.trialdmExpressions;

function values(given, types) {
  const found = {};
  for (const [name, raw] of Object.entries(given)) found[name] = read(types[name], raw);
  return found;
}

function shown(result) {
  if (result === null) return "missing";
  if (typeof result === "boolean" || typeof result === "string") return result;
  if ("n" in result) return result.d === 1n ? `${result.n}` : `${result.n}/${result.d}`;
  return Array.isArray(result) ? result.join() : String(result);
}

const { types, cases } = JSON.parse(fs.readFileSync(0, "utf8"));
const answers = cases.map((one) => {
  try {
    if (one.type) return write(read(one.type, one.raw), one.type, one.decimals || 0);
    const known = values(one.given, types);
    const rows = one.rows.map((row) => values(row, types));
    if (one.holds) return holds(one.tree, known, rows);
    const result = evaluate(one.tree, known, rows);
    return one.result ? write(result, one.result, one.decimals) : shown(result);
  } catch (error) {
    return { error: String(error.stack) };
  }
});
process.stdout.write(JSON.stringify(answers));
