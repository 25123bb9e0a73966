/*
 * Expressions in the browser: conditions and calculations of a form, worked out while somebody types.
 *
 * The server sends each expression as a tree (`Expression.tree` in trialdm/domain/expressions.py) that it has checked when the
 * definition was loaded; this file evaluates the same tree by the same rules: exact fractions, no floating point, and
 * three-valued logic in which null stands for a missing answer. One table of cases (tests/spec/expressions.yaml) is run by both.
 * The server judges every form again when it is saved; what is worked out here only shows, hides and fills.
 *
 *     const values = { weight: trialdmExpressions.read("dec", "82.5"), height: trialdmExpressions.read("int", 180) };
 *     trialdmExpressions.evaluate(tree, values, rows)   the value of an expression; rows of a repeating form hold such values too
 *     trialdmExpressions.holds(tree, values, rows)      whether a condition is true: unknown is not
 *     trialdmExpressions.write(value, "dec", 1)         the stored form of a calculated item: "25.5"
 *
 * A calculation that reads another one reads it as it is stored: put read(type, write(value, type, decimals)) into `values`.
 *
 * Values: null (missing), true and false, text, Ratio (int, dec, code, yn), Moment (date, time, dtm), and arrays of BigInt
 * (several codes). A partial date is kept as its text.
 */
(function (scope) {
  "use strict";

  // --- exact numbers -------------------------------------------------------------------------------------------------

  const magnitude = (n) => (n < 0n ? -n : n);

  /** A fraction in lowest terms with a positive denominator. */
  class Ratio {
    constructor(n, d = 1n) {
      let [a, b] = [magnitude(n), magnitude(d)];
      while (b) [a, b] = [b, a % b];
      const divisor = d < 0n ? -a : a;
      this.n = n / divisor;
      this.d = d / divisor;
    }

    plus(other) {
      return new Ratio(this.n * other.d + other.n * this.d, this.d * other.d);
    }

    times(other) {
      return new Ratio(this.n * other.n, this.d * other.d);
    }

    minus(other) {
      return this.plus(other.negated());
    }

    /** The quotient, or null (unknown) where the divisor is zero. */
    over(other) {
      return other.n ? new Ratio(this.n * other.d, this.d * other.n) : null;
    }

    negated() {
      return new Ratio(-this.n, this.d);
    }

    /** The largest whole number that is not above it. BigInt division cuts towards zero. */
    floor() {
      return this.n / this.d - (this.n < 0n && this.n % this.d ? 1n : 0n);
    }

    /** How many units of 10^-places it is, with halves away from zero. */
    units(places) {
      const up = places > 0n ? 10n ** places : 1n;
      const down = places < 0n ? 10n ** -places : 1n;
      const whole = (magnitude(this.n) * up * 2n + this.d * down) / (this.d * down * 2n);
      return this.n < 0n ? -whole : whole;
    }

    rounded(places) {
      const units = this.units(places);
      return places > 0n ? new Ratio(units, 10n ** places) : new Ratio(units * 10n ** -places);
    }

    /** Decimal text with exactly so many places, cut from the whole number of units. */
    fixed(places) {
      const units = this.units(BigInt(places));
      const digits = magnitude(units).toString().padStart(places + 1, "0");
      const point = digits.length - places;
      return (units < 0n ? "-" : "") + digits.slice(0, point) + (places ? "." + digits.slice(point) : "");
    }

    /** A whole number without a point, a fraction as the shortest decimal up to six places. */
    toString() {
      return this.d === 1n ? this.n.toString() : this.fixed(6).replace(/\.?0+$/, "");
    }
  }

  const whole = (n) => new Ratio(BigInt(n));

  /** The number that a decimal text stands for; the text has been checked. */
  function decimal(text) {
    const [before, after = ""] = text.replace(/^[+-]/, "").split(".");
    const size = BigInt(before + after);
    return new Ratio(text.startsWith("-") ? -size : size, 10n ** BigInt(after.length));
  }

  // --- days and times ------------------------------------------------------------------------------------------------

  const DAY = 86400000;
  const two = (n) => String(n).padStart(2, "0");
  const clock = (minutes) => two(Math.floor(minutes / 60)) + ":" + two(minutes % 60);

  /** The number of a day in the calendar (1 January 1970 is 0). */
  function dayNumber(year, month, day) {
    const date = new Date(0);
    date.setUTCFullYear(year, month - 1, day); // unlike Date.UTC, this takes years below 100 as they stand
    return date.getTime() / DAY;
  }

  /** Year, month and day of a day's number. */
  function calendar(number) {
    const date = new Date(number * DAY);
    return [date.getUTCFullYear(), date.getUTCMonth() + 1, date.getUTCDate()];
  }

  const FIRST_DAY = dayNumber(1, 1, 1);
  const LAST_DAY = dayNumber(9999, 12, 31);

  /** A day (counted in days), a time of day or a date and time (counted in minutes). */
  class Moment {
    constructor(type, count) {
      this.type = type;
      this.count = count;
    }

    toString() {
      if (this.type === "time") return clock(this.count);
      const days = this.type === "date" ? this.count : Math.floor(this.count / 1440);
      const [year, month, day] = calendar(days);
      const date = `${String(year).padStart(4, "0")}-${two(month)}-${two(day)}`;
      return this.type === "date" ? date : `${date}T${clock(this.count - days * 1440)}`;
    }
  }

  /** The day of an ISO date, or null where the calendar has no such day. */
  function dayOf(text) {
    const [year, month, day] = text.split("-").map(Number);
    const number = dayNumber(year, month, day);
    const same = calendar(number).join() === [year, month, day].join();
    return same && number >= FIRST_DAY && number <= LAST_DAY ? new Moment("date", number) : null;
  }

  /** Completed years; somebody born on 29 February has the birthday on 1 March of other years. */
  function years(born, on) {
    const [a, b] = [calendar(born.count), calendar(on.count)];
    const before = b[1] < a[1] || (b[1] === a[1] && b[2] < a[2]);
    return whole(b[0] - a[0] - (before ? 1 : 0));
  }

  /** The day so many whole days later, or null where that lies outside the calendar. */
  function addDays(day, days) {
    const number = BigInt(day.count) + days.n / days.d;
    return number >= BigInt(FIRST_DAY) && number <= BigInt(LAST_DAY) ? new Moment("date", Number(number)) : null;
  }

  // --- comparing -----------------------------------------------------------------------------------------------------

  /** Negative, zero or positive, for two values of one kind; texts are only ever asked whether they are equal. */
  function order(a, b) {
    if (a instanceof Ratio) return Number(a.minus(b).n > 0n) - Number(a.minus(b).n < 0n);
    if (a instanceof Moment) return a.count - b.count;
    return String(a) === String(b) ? 0 : 1;
  }

  const ORDERS = {
    "==": (a, b) => order(a, b) === 0,
    "!=": (a, b) => order(a, b) !== 0,
    "<": (a, b) => order(a, b) < 0,
    "<=": (a, b) => order(a, b) <= 0,
    ">": (a, b) => order(a, b) > 0,
    ">=": (a, b) => order(a, b) >= 0,
  };

  // --- functions -----------------------------------------------------------------------------------------------------

  const answered = (values) => values.filter((value) => value !== null);
  const sum = (numbers) => numbers.reduce((total, number) => total.plus(number), whole(0));
  const enough = (known, least) => least !== null && order(whole(known.length), least) >= 0;
  const extreme = (numbers, sign) =>
    answered(numbers).reduce((best, number) => (best === null || order(number, best) * sign > 0 ? number : best), null);

  function mean(least, numbers) {
    const known = answered(numbers);
    return known.length && enough(known, least) ? sum(known).over(whole(known.length)) : null;
  }

  function total(least, numbers) {
    const known = answered(numbers);
    return enough(known, least) ? sum(known) : null;
  }

  /** Unknown as soon as one argument is. */
  const STRICT = {
    days: (a, b) => whole(b.count - a.count),
    years,
    hours: (a, b) => new Ratio(BigInt(b.count - a.count), 60n),
    minutes: (a, b) => whole((b.count - a.count + 1440) % 1440), // an end before the start is on the next day
    date: (moment) => new Moment("date", Math.floor(moment.count / 1440)),
    add_days: addDays,
    has: (codes, code) => codes.some((held) => order(new Ratio(held), code) === 0),
    count_codes: (codes) => whole(codes.length),
    sum: (...numbers) => sum(numbers),
    round: (number, places) => number.rounded(places.n / places.d),
    floor: (number) => new Ratio(number.floor()),
    abs: (number) => new Ratio(magnitude(number.n), number.d),
    text: (...parts) => parts.join(""),
  };

  /** Decide for themselves what a missing argument means. */
  const LENIENT = {
    answered: (value) => value !== null,
    missing: (value) => value === null,
    count: (...values) => whole(answered(values).length),
    mean: (least, ...numbers) => mean(least, numbers),
    total: (least, ...numbers) => total(least, numbers),
    least: (...numbers) => extreme(numbers, -1),
    greatest: (...numbers) => extreme(numbers, 1),
  };

  /** Over one item of all rows of a repeating form. */
  const ROWS = {
    sum_rows: (values) => (answered(values).length ? sum(answered(values)) : null),
    count_rows: (values) => whole(answered(values).length),
    mean_rows: (values, least) => mean(least, values),
    max_rows: (values) => extreme(values, 1),
    same_rows: (values, least, own) => (own === null ? null : values.filter((v) => v !== null && order(v, own) === 0).length > 1),
  };

  // --- the tree ------------------------------------------------------------------------------------------------------

  const not = (truth) => (truth === null ? null : !truth);

  /** Kleene's conjunction: false as soon as one is false, else unknown as soon as one is unknown. */
  function every(truths) {
    if (truths.includes(false)) return false;
    return truths.includes(null) ? null : true;
  }

  const ARITHMETIC = {
    "+": (a, b) => a.plus(b),
    "-": (a, b) => a.minus(b),
    "*": (a, b) => a.times(b),
    "/": (a, b) => a.over(b),
  };

  /** The value of a tree. A name that is not in `values` is a missing answer. */
  function evaluate(tree, values, rows = []) {
    const value = (part) => evaluate(part, values, rows);
    const strictly = (rule, parts) => {
      const known = parts.map(value);
      return known.includes(null) ? null : rule(...known);
    };
    const held = (row, name) => (Object.hasOwn(row, name) ? row[name] : null);
    const [node, first, second, third] = tree;
    switch (node) {
      case "num":
        return decimal(first);
      case "text":
        return first;
      case "day":
        return dayOf(first);
      case "name":
        return held(values, first);
      case "and":
        return every(first.map(value));
      case "or":
        return not(every(first.map(value).map(not)));
      case "not":
        return not(value(first));
      case "neg":
        return strictly((number) => number.negated(), [first]);
      case "**":
        return strictly((base) => new Ratio(base.n ** BigInt(second), base.d ** BigInt(second)), [first]);
      case "+":
      case "-":
      case "*":
      case "/":
        return strictly(ARITHMETIC[node], [first, second]);
      case "cmp": // a chain a < b < c is a < b and b < c
        return every(first.map((sign, i) => strictly(ORDERS[sign], [second[i], second[i + 1]])));
      case "in":
        return not(every(second.map((choice) => not(strictly(ORDERS["=="], [first, choice])))));
      case "if": {
        const test = value(first);
        return test === null ? null : value(test ? second : third);
      }
      case "or_else": {
        const known = value(first);
        return known === null ? value(second) : known;
      }
      case "call":
        return first in LENIENT ? LENIENT[first](...second.map(value)) : strictly(STRICT[first], second);
      case "lookup": {
        const found = (key) => first.find(([listed]) => order(decimal(listed), key) === 0);
        return strictly((key) => (found(key) ? decimal(found(key)[1]) : null), [second]);
      }
      case "rows":
        return ROWS[first](rows.map((row) => held(row, third)), value(second), held(values, third));
      default:
        throw new Error(`not an expression: ${node}`);
    }
  }

  const holds = (tree, values, rows) => evaluate(tree, values, rows) === true;

  // --- values in and out ---------------------------------------------------------------------------------------------

  const WHOLE = /^[+-]?[0-9]{1,15}$/;
  const DECIMAL = /^[+-]?([0-9]{1,15}(\.[0-9]{0,12})?|\.[0-9]{1,12})$/;
  const NUMBERS = new Set(["int", "dec", "code", "yn"]);
  const PARTIAL = /^([0-9]{4})(-[0-9]{2})?(-[0-9]{2})?$/;

  const inCalendar = (text) => Number(text.slice(0, 4)) >= 1800 && Number(text.slice(0, 4)) <= 2200;

  function readTime(text) {
    const [, hours, minutes] = /^([0-9]{1,2}):([0-9]{2})$/.exec(text) || [];
    return hours !== undefined && hours < 24 && minutes < 60 ? Number(hours) * 60 + Number(minutes) : null;
  }

  const readDate = (text) => (/^[0-9]{4}-[0-9]{2}-[0-9]{2}$/.test(text) && inCalendar(text) ? dayOf(text) : null);

  /** From the trimmed text of a field, by type; null where it cannot be read (the server says why when it is saved). */
  const READERS = {
    int: (text) => (WHOLE.test(text) ? decimal(text) : null),
    code: (text) => (WHOLE.test(text) ? decimal(text) : null),
    yn: (text) => (/^[+-]?0*[01]$/.test(text) && WHOLE.test(text) && decimal(text).n >= 0n ? decimal(text) : null),
    dec: (text) => (DECIMAL.test(text) ? decimal(text) : null),
    date: readDate,
    pdate: (text) => (PARTIAL.test(text) && readDate((text + "-01-01").slice(0, 10)) ? text : null),
    time: (text) => (readTime(text) === null ? null : new Moment("time", readTime(text))),
    dtm: (text) => {
      const [, date, time] = /^(\S{10})[T ]([0-9:]{4,5}?)(?::00)?$/.exec(text) || [];
      const [day, minutes] = date ? [readDate(date), readTime(time)] : [null, null];
      return day === null || minutes === null ? null : new Moment("dtm", day.count * 1440 + minutes);
    },
    text: (text) => text.replace(/\r\n?/g, "\n"),
  };

  /**
   * The value of an answer in its JSON form or as typed into a field; null for a blank, and for what is not (yet) of the type.
   * Whole numbers may come as numbers; decimals as text, because a floating-point number is not what was typed.
   */
  function read(type, raw) {
    if (raw === null || raw === undefined) return null;
    if (type === "multi") {
      const listed = typeof raw === "string" ? raw.split(/[\s,]+/).filter(Boolean) : Array.isArray(raw) ? raw : [];
      const codes = listed.map((code) => (typeof code === "object" ? "" : String(code)));
      const distinct = new Set(codes.filter((code) => WHOLE.test(code)).map((code) => decimal(code).n));
      const sorted = [...distinct].sort((a, b) => (a < b ? -1 : 1));
      return sorted.length && sorted.length === codes.length ? sorted : null;
    }
    if (typeof raw !== "string" && !(Number.isSafeInteger(raw) && NUMBERS.has(type))) return null;
    const text = String(raw).trim();
    return text ? READERS[type](text) : null;
  }

  /** The JSON form of a value as an item of this type stores it: numbers rounded half away from zero to its decimals. */
  function write(value, type, decimals = 0) {
    if (value === null) return null;
    if (typeof value === "boolean") return Number(value);
    if (value instanceof Ratio) return type === "dec" ? value.fixed(decimals) : Number(value.units(0n));
    return Array.isArray(value) ? value.map(Number) : String(value);
  }

  scope.trialdmExpressions = Object.freeze({ read, write, evaluate, holds });
})(globalThis);
