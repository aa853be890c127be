"use strict";
/* How good the bundle was measured to be, beside what it was measured with. */
const quality = (() => {
  const {el, svg, refill, put, byId} = dom;
  const QUESTIONS = {retrieve: "Which item comes next, of all?", rank: "Which of the items shown is chosen?"};
  const FIRST = ["GAUC", "NDCG@10", "AUC", "HitRate@10"];
  let found = null;

  const interval = (one) => !one ? "–" : one.low === null ? words.number(one.value, 4) : `${words.number(one.value, 4)} [${words.number(one.low, 4)}, ${words.number(one.high, 4)}]`;

  function table(header, rows, own = () => false) {
    return el("div", {class: "scroll", tabindex: 0, role: "region", "aria-label": "Table"}, el("table", {},
      el("thead", {}, el("tr", {}, header.map((cell) => el("th", {scope: "col"}, cell)))),
      el("tbody", {}, rows.map((row, i) => el("tr", {class: own(i) ? "own" : null}, row.map((cell) => el("td", {}, cell)))))));
  }

  const narrow = () => matchMedia("(max-width: 48rem)").matches;

  /* A row a card: its mean and its interval, the best on top. */
  function forest(group, metric) {
    const cards = group.cards.filter((card) => card.metrics[metric] && card.metrics[metric].value !== null).sort((a, b) => b.metrics[metric].value - a.metrics[metric].value);
    const lows = cards.map((card) => card.metrics[metric].low ?? card.metrics[metric].value), highs = cards.map((card) => card.metrics[metric].high ?? card.metrics[metric].value);
    const low = Math.min(...lows), high = Math.max(...highs), room = (high - low || 0.01) * 0.08, width = narrow() ? 350 : 640, from = narrow() ? 118 : 190, to = width - 62;
    const x = (value) => from + (value - low + room) / (high - low + 2 * room || 1) * (to - from);
    const ticks = (narrow() ? [0, 3] : [0, 1, 2, 3]).map((i) => low + (high - low) * i / 3), tall = cards.length * 28;
    return svg("svg", {class: "plot", viewBox: `0 0 ${width} ${tall + 30}`, role: "img", "aria-label": `${metric}: ${cards.map((card) => `${card.model} ${interval(card.metrics[metric])}`).join("; ")}`},
      ticks.map((value) => [svg("path", {class: "grid", d: `M${x(value)} 4v${tall}`}), svg("text", {x: x(value), y: tall + 22, "text-anchor": "middle"}, words.number(value, 3))]),
      cards.map((card, i) => {
        const one = card.metrics[metric], y = 18 + i * 28, kind = card.own ? " own" : "";
        return [svg("text", {class: card.own ? "own" : null, x: from - 14, y: y + 4, "text-anchor": "end"}, words.cut(card.model, narrow() ? 15 : 24)),
          one.low === null ? null : svg("path", {class: `whisker${kind}`, d: `M${x(one.low)} ${y}H${x(one.high)}`}),
          svg("circle", {class: `mean${kind}`, cx: x(one.value), cy: y, r: 5}), svg("text", {class: card.own ? "own" : null, x: to + 12, y: y + 4}, words.number(one.value, 4))];
      }));
  }

  function verdict(group, metric) {
    const own = group.cards.find((card) => card.own && card.metrics[metric]);
    if (!own) return "This bundle has no card for this question.";
    const value = own.metrics[metric].value, others = group.cards.filter((card) => card !== own && card.metrics[metric] && card.metrics[metric].value !== null);
    const above = others.filter((card) => card.metrics[metric].value > value);
    if (!others.length) return `${own.model}: ${interval(own.metrics[metric])}. Nothing stands beside it: hpgr evaluate --baselines measures simple models too.`;
    if (!above.length) return `${own.model} is ahead of ${words.many(others.length, "other model")} in ${metric}. Where intervals overlap, a comparison by user says more.`;
    return `${own.model} is behind ${above.map((card) => card.model).join(", ")} in ${metric}. Where intervals overlap, a comparison by user says more.`;
  }

  function slices(card, metric) {
    const rows = card.slices.filter((one) => one.metrics[metric]);
    if (!rows.length) return null;
    return [el("h3", {}, `${card.model} on parts of the test: ${metric}`),
      table(["part", "users", "value [interval]"], rows.map((one) => [`${one.kind}: ${one.name}`, words.count(one.num_users), interval(one.metrics[metric])]))];
  }

  function calibration(card) {
    if (!card.calibration) return null;
    const {bins, error, ratio} = card.calibration, size = 260, edge = 34;
    const most = Math.max(...bins.map((bin) => Math.max(bin.mean_prob, bin.mean_label)), 0.01);
    const x = (value) => edge + value / most * (size - edge - 8), y = (value) => size - edge - value / most * (size - edge - 8);
    const spots = bins.map((bin) => [x(bin.mean_prob), y(bin.mean_label)]);
    const said = ratio === null ? "" : ratio > 1.05 ? `It promises ${words.percent(ratio - 1)} more than happens.` : ratio < 0.95 ? `It promises ${words.percent(1 - ratio)} less than happens.` : "On the whole it promises what happens.";
    return [el("h3", {}, `Does ${card.model} promise what happens?`),
      el("p", {class: "soft small"}, `Each dot is a tenth of the answers: how likely the model said, and how often it came true. On the dashed line both are equal. ${said} Mean error ${words.number(error, 4)}.`),
      svg("svg", {class: "plot square", viewBox: `0 0 ${size} ${size}`, role: "img", "aria-label": `Calibration: ${bins.map((bin) => `said ${words.percent(bin.mean_prob)}, happened ${words.percent(bin.mean_label)}`).join("; ")}`},
        svg("path", {class: "grid", d: `M${x(0)} ${y(most)}V${y(0)}H${x(most)}`}), svg("path", {class: "ideal", d: `M${x(0)} ${y(0)}L${x(most)} ${y(most)}`}),
        svg("path", {class: "curve", d: spots.map(([a, b], i) => `${i ? "L" : "M"}${a} ${b}`).join("")}), spots.map(([a, b]) => svg("circle", {class: "spot", cx: a, cy: b, r: 4})),
        svg("text", {x: x(most), y: size - 10, "text-anchor": "end"}, `said: up to ${words.percent(most)}`), svg("text", {x: x(0) + 8, y: 18}, "happened"))];
  }

  function comparison(group) {
    const cards = group.cards.filter((card) => card.comparable);
    if (cards.length < 2) return el("p", {class: "soft small"}, "Two cards with values of single users can be compared by user; here there are fewer.");
    const select = (label, at) => {
      const box = el("select", {class: "field", "aria-label": label}, cards.map((card) => el("option", {value: card.name}, card.model)));
      box.selectedIndex = at;
      return box;
    };
    const first = select("Compare", 1), second = select("with", 0), result = el("div", {"aria-live": "polite"});
    async function run() {
      try {
        refill(result, differences(await source.compare(first.value, second.value), first.selectedOptions[0].text, second.selectedOptions[0].text));
      } catch (error) {
        if (!(error instanceof source.Refused)) throw error;
        refill(result, el("p", {class: "note"}, error.message));
      }
    }
    return el("div", {}, el("h3", {}, "Two models, user by user"), el("div", {class: "row"}, el("span", {}, "From"), first, el("span", {}, "to"), second, el("button", {class: "button", onclick: run}, "Compare")), result);
  }

  function differences(rows, first, second) {
    return [table(["metric", first, second, "difference [interval]", "p (Holm)", "shows from"], rows.map((one) => [one.metric, words.number(one.first, 4), words.number(one.second, 4), interval(one.interval), words.number(one.p_holm, 4), words.number(one.detectable, 4)])),
      el("p", {class: "soft small"}, `${second} minus ${first}, over the same users. An interval that holds 0, or a p above 0.05, is no proof of a difference; “shows from” is the least one that so many users would have shown. One training each: other seeds are not in it.`)];
  }

  function group(one) {
    const first = FIRST.map((name) => one.metrics.find((metric) => metric.replace(/\[.*\]$/, "") === name)).find(Boolean) ?? one.metrics[0], plot = el("div"), said = el("p", {}), parts = el("div");
    const own = one.cards.find((card) => card.own) ?? one.cards[0];
    const select = el("select", {class: "field", "aria-label": "Metric", onchange: () => show(select.value)}, one.metrics.map((name) => el("option", {value: name, selected: name === first}, name)));
    function show(metric) {
      refill(said, verdict(one, metric));
      refill(plot, forest(one, metric));
      refill(parts, slices(own, metric));
    }
    show(first);
    return el("section", {class: "card"}, el("div", {class: "row spread"}, el("h2", {}, QUESTIONS[one.question]), select),
      el("p", {class: "soft small"}, "Measured on what was held out of training. Dots are means over users, lines their 95 % intervals; to the right is better."),
      said, el("div", {class: "plots"}, el("div", {}, plot), own.calibration ? el("div", {}, calibration(own)) : null),
      el("details", {}, el("summary", {}, "All metrics, and how it was asked"), el("p", {}, `Candidates: ${one.protocol.candidates}. Seen items: ${one.protocol.seen}. Targets: ${one.protocol.targets}. Ties: ${one.protocol.ties}.`), table(["model", ...one.metrics], one.cards.map((card) => [card.model, ...one.metrics.map((name) => interval(card.metrics[name]))]), (i) => one.cards[i].own)),
      parts, comparison(one));
  }

  async function start() {
    const view = byId("view-quality");
    refill(view, el("p", {class: "soft"}, "Reading result cards …"));
    try {
      found = await source.quality();
    } catch (error) {
      if (!(error instanceof source.Refused)) throw error;
      refill(view, el("p", {class: "note"}, error.message));
      return;
    }
    const elsewhere = found.elsewhere ? ` ${words.many(found.elsewhere, "card")} of other splits ${found.elsewhere === 1 ? "is" : "are"} not shown: they answer other questions.` : "";
    if (!found.groups.length) {
      refill(view, el("section", {class: "card"}, el("h2", {}, "Not measured yet"),
        el("p", {}, "No result card of this bundle was found. Measure it on what was held out, and look here again:"), el("p", {}, el("code", {}, "hpgr evaluate BUNDLE STORE --baselines --out results")),
        el("p", {class: "soft small"}, `Looked in ${found.looked_in.join(", ")}.${elsewhere}`)));
      return;
    }
    refill(view, found.groups.map(group), el("p", {class: "soft small"}, `All under certificate ${found.certificate.slice(0, 12)}: the same users, histories and targets.${elsewhere}`));
  }

  return {start};
})();
