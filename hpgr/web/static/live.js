"use strict";
/* What the service is doing now: two readings of its own counters, and what lies between them. */
const live = (() => {
  const {el, svg, refill, byId, keepingFocus} = dom;
  const EVERY_MS = 2000, KEPT = 60, OURS = (route) => route === "/" || route.startsWith("/page") || route.startsWith("/v1/page") || route === "none";
  let readings = [], traces = [], timer = 0, shown = false;

  const requests = (one) => one.requests.filter((row) => !OURS(row.route)).reduce((sum, row) => sum + row.count, 0);
  const errors = (one) => one.requests.filter((row) => !OURS(row.route) && row.status >= 500).reduce((sum, row) => sum + row.count, 0);

  /* Buckets of all routes but the page's own, added up. */
  function buckets(one) {
    const sums = new Map();
    for (const [route, row] of Object.entries(one.seconds)) {
      if (!OURS(route)) for (const [bound, count] of row.buckets) sums.set(bound, (sums.get(bound) || 0) + count);
    }
    return sums;
  }

  /* The time that a share of the requests between two readings did not exceed, as an upper bound in ms. */
  function quantile(before, after, share) {
    const early = before ? buckets(before) : new Map(), rows = [...buckets(after)].map(([bound, count]) => [bound, count - (early.get(bound) || 0)]);
    const total = rows.length ? rows[rows.length - 1][1] : 0;
    if (!total) return null;
    const hit = rows.find(([, count]) => count >= share * total);
    return hit[0] === null ? Infinity : hit[0] * 1000;
  }

  const ms = (value) => value === null ? "–" : value === Infinity ? "> 2.5 s" : `≤ ${words.number(value, 0)} ms`;

  function trace(name) {
    const values = traces.map((one) => one[name] ?? 0), most = Math.max(...values, 1e-9);
    const x = (i) => 200 - (values.length - 1 - i) / (KEPT - 1) * 200;
    const points = values.map((value, i) => `${x(i)} ${38 - value / most * 34}`);
    return svg("svg", {viewBox: "0 0 200 40", preserveAspectRatio: "none", "aria-hidden": "true"},
      points.length > 1 ? svg("path", {class: "area", d: `M${points.join("L")}L200 40L${x(0)} 40Z`}) : null,
      points.length > 1 ? svg("path", {class: "trace", d: `M${points.join("L")}`}) : null);
  }

  function tile(title, value, note, name) {
    return el("section", {class: "card tile", "aria-label": title}, el("div", {class: "soft small"}, title), el("div", {class: "value"}, value), el("div", {class: "soft small"}, note), name ? trace(name) : null);
  }

  function draw() {
    const after = readings[readings.length - 1], before = readings.length > 1 ? readings[0] : null, now = after.now;
    const looked = now.cache_hits + now.cache_misses, answers = Object.values(after.answers).reduce((a, b) => a + b, 0);
    const last = traces[traces.length - 1] || {rate: null};
    const failed = errors(after), routes = Object.entries(after.seconds).filter(([route, row]) => !OURS(route) && row.count);
    refill(byId("view-live"),
      el("section", {class: "card"}, el("h2", {}, "The service now"), el("p", {class: "soft small"}, `Read from its own counters every two seconds; times are of the last two minutes. What this page itself asks is left out. With several workers, these are the numbers of the one that answered.`)),
      el("div", {class: "tiles"},
        tile("Requests a second", words.number(last.rate, 1), `${words.count(requests(after))} since it began`, "rate"),
        tile("Half are answered within", ms(quantile(before, after, 0.5)), "median"),
        tile("99 of 100 within", ms(quantile(before, after, 0.99)), "99th percentile", "slow"),
        tile("Histories found in memory", looked ? words.percent(now.cache_hits / looked) : "–", `${words.count(now.histories)} held, ${words.number(now.history_bytes / 1048576, 1)} MiB`),
        tile("Waiting", words.count(now.ask_queue + now.tell_queue), "questions and groups of events", "queue"),
        tile("Failures", words.count(failed), failed ? "answers of 500 and above" : "none since it began"),
        tile("Answered by the model alone", answers ? words.percent((after.answers.model || 0) / answers) : "–", "the rest by what is popular, or by both"),
        tile("Events kept", words.count(after.events.accepted || 0), `${words.count((after.events.duplicate || 0))} told twice, ${words.count((after.events.too_late || 0) + (after.events.too_early || 0))} refused`)),
      routes.length ? el("section", {class: "card"}, el("h2", {}, "By route"), el("div", {class: "scroll", tabindex: 0, role: "region", "aria-label": "Table by route", "data-key": "routes"}, el("table", {},
        el("thead", {}, el("tr", {}, ["route", "requests", "mean time"].map((cell) => el("th", {scope: "col"}, cell)))),
        el("tbody", {}, routes.map(([route, row]) => el("tr", {}, el("td", {}, route), el("td", {}, words.count(row.count)), el("td", {}, `${words.number(1000 * row.sum / row.count, 1)} ms`))))))) : null);
  }

  async function read() {
    try {
      const one = await source.counters(), before = readings[readings.length - 1];
      if (before && one.at_ms > before.at_ms) {
        const seconds = (one.at_ms - before.at_ms) / 1000, slow = quantile(before, one, 0.99);
        traces.push({rate: Math.max(0, requests(one) - requests(before)) / seconds, slow: slow === null || slow === Infinity ? 0 : slow, queue: one.now.ask_queue + one.now.tell_queue});
      }
      readings.push(one);
      readings = readings.slice(-KEPT);
      traces = traces.slice(-KEPT);
      keepingFocus(draw, () => null);
    } catch (error) {
      if (!(error instanceof source.Refused)) throw error;
      refill(byId("view-live"), el("p", {class: "note"}, error.message));
    }
    if (shown) timer = setTimeout(read, EVERY_MS);
  }

  function start() {
    if (!source.live) {
      refill(byId("view-live"), el("section", {class: "card"}, el("h2", {}, "No service behind this page"), el("p", {}, "This page is a file. Behind hpgr serve, rates and times of the running service stand here.")));
      return;
    }
    shown = true;
    read();
  }

  function stop() {
    shown = false;
    clearTimeout(timer);
  }

  return {start, stop};
})();
