"use strict";
/* Numbers, moments and names as people read them. */
const words = (() => {
  const day = new Intl.DateTimeFormat("en-GB", {weekday: "short", day: "numeric", month: "short", timeZone: "UTC"});
  const date = new Intl.DateTimeFormat("en-GB", {day: "numeric", month: "short", year: "numeric", timeZone: "UTC"});
  const clock = new Intl.DateTimeFormat("en-GB", {hour: "2-digit", minute: "2-digit", timeZone: "UTC"});
  const whole = new Intl.NumberFormat("en-GB", {maximumFractionDigits: 0});

  function number(value, digits = 2) {
    if (value === null || value === undefined) return "–";
    const text = Math.abs(value) >= 1000 ? whole.format(value) : value.toFixed(digits);
    return text.replace("-", "−");
  }

  const count = (value) => whole.format(value);
  const signed = (value) => (value > 0 ? "+" : "") + number(value);
  const percent = (share) => `${Math.round(100 * share)} %`;
  const many = (n, one, more = `${one}s`) => `${count(n)} ${n === 1 ? one : more}`;

  /* Of more than 25 hours in days, so that a gap is read at a glance. */
  function span(ms) {
    const minutes = ms / 60000;
    if (minutes < 1) return "moments";
    if (minutes < 90) return `${Math.round(minutes)} min`;
    if (minutes < 25 * 60) return `${Math.round(minutes / 60)} h`;
    const days = minutes / 1440;
    if (days < 60) return `${Math.round(days)} ${Math.round(days) === 1 ? "day" : "days"}`;
    return days < 700 ? `${Math.round(days / 30.4)} months` : `${(days / 365).toFixed(1)} years`;
  }

  const when = (ms) => `${day.format(ms)}, ${clock.format(ms)}`;
  const onDay = (ms) => day.format(ms);
  const onDate = (ms) => date.format(ms);
  const at = (ms) => clock.format(ms);

  /* The colour of a category: ten, told apart; the rest share a grey. */
  const colour = (category) => (category === null || category === undefined || category > 9 ? "kx" : `k${category}`);

  function cut(text, most = 34) {
    return text.length > most ? `${text.slice(0, most - 1).trimEnd()}…` : text;
  }

  return {number, count, signed, percent, many, span, when, onDay, onDate, at, colour, cut};
})();
