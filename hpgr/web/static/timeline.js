"use strict";
/* The history as a line of sessions, oldest to the left: a dot an event, and over it how strongly the model reads it. */
const timeline = (() => {
  const {el, svg, refill, roving} = dom;
  const STEP = 26, PAD = 16, TOP = 30, TALL = 64, AXIS = TOP + TALL + 6, DOT = AXIS + 15, MARK = DOT + 19, LOW = MARK + 9, HEIGHT = LOW + 24;
  const NARROWEST = 96;

  /* Events in sessions; what was added on the page goes on with the last session or begins one, as the model reads it. */
  function sessions(events, added, joins) {
    const found = [];
    for (const event of events) {
      const last = found[found.length - 1];
      if (last && last.session === event.session) last.events.push(event);
      else found.push({session: event.session, events: [event]});
    }
    if (added.length && joins && found.length) found[found.length - 1].events.push(...added);
    else if (added.length) found.push({session: null, events: added});
    return found;
  }

  function placed(groups) {
    let x = 2;
    return groups.map((group, i) => {
      const before = i && groups[i - 1].events;
      const away = before && group.session !== null ? group.events[0].time_ms - before[before.length - 1].time_ms : null;
      const gap = i ? 58 : 0;
      const width = Math.max(NARROWEST, group.events.length * STEP + 2 * PAD - 8);
      const left = x + gap, inset = (width - (group.events.length - 1) * STEP) / 2;
      x = left + width;
      return {...group, left, width, away, at: group.events.map((_, n) => left + inset + n * STEP)};
    });
  }

  const byQuantity = (one) => (one.gate >= 0.6 ? "read strongly" : one.gate >= 0.2 ? "read with some extra weight" : "hardly lifted");

  function spoken(event, state, told) {
    const parts = [event.title, event.seq < 0 ? "added by you" : words.when(event.time_ms)];
    if (state.removed.has(event.seq)) parts.push("left out");
    else if (told && told.gate !== null) parts.push(byQuantity(told));
    else if (!event.read) parts.push("too old to be read");
    return `${parts.join(", ")}. Enter: look closer. Delete: ${state.removed.has(event.seq) ? "put back" : "leave out"}.`;
  }

  function drawEvent(event, x, state, told, act, stop) {
    const out = state.removed.has(event.seq), on = state.picked === event.seq;
    const kinds = ["event", words.colour(event.category), out && "out", on && "on", !event.read && "old"].filter(Boolean).join(" ");
    const mark = told && !out && told.change !== null && Math.abs(told.change) >= 0.005 ? told.change : 0;
    const tall = told && !out && told.gate ? Math.max(2, told.gate * TALL) : 0;
    const side = Math.abs(mark) >= state.largest / 2 ? 5.5 : 3.8;
    return svg("g", {
      class: kinds, role: "button", tabindex: stop ? 0 : -1, "aria-pressed": String(on), "aria-label": spoken(event, state, told), "data-seq": event.seq, "data-key": `event ${event.seq}`,
      onclick: () => act.pick(event.seq),
      onkeydown: (press) => {
        if (press.key === "Enter" || press.key === " ") act.pick(event.seq);
        else if (press.key === "Delete" || press.key === "Backspace") act.toggle(event.seq);
        else return;
        press.preventDefault();
      },
    },
    svg("title", {}, event.title),
    svg("rect", {class: "ring", x: x - STEP / 2 + 1, y: TOP - 4, width: STEP - 2, height: LOW - TOP + 2, rx: 6}),
    tall ? svg("rect", {class: "bar", x: x - 5, y: AXIS - 2 - tall, width: 10, height: tall, rx: 2.5}) : null,
    tall && told.chosen ? svg("circle", {class: "pick", cx: x, cy: AXIS - 2 - tall - 6, r: 2.6}) : null,
    event.seq < 0 ? svg("circle", {class: "new", cx: x, cy: DOT, r: 10.5}) : null,
    svg("circle", {class: "dot", cx: x, cy: DOT, r: 7.5}),
    out ? svg("path", {class: "cross", d: `M${x - 4} ${DOT - 4}l8 8m0-8l-8 8`}) : null,
    mark ? svg("path", {
      class: mark > 0 ? "up" : "down",
      d: mark > 0 ? `M${x} ${MARK - side}l${side} ${side * 1.6}h${-2 * side}z` : `M${x} ${MARK + side}l${side} ${-side * 1.6}h${-2 * side}z`,
    }) : null);
  }

  function drawSession(group, state, explained, act, focusSeq) {
    const first = group.events[0], told = explained && explained.of_session.get(first.seq);
    const share = told && told.share !== null ? `${words.percent(told.share)} of the weight` : "";
    const strong = told && told.share !== null && told.share === explained.strongest;
    const nodes = [];
    if (group.away !== null && group.away > 0) {
      nodes.push(svg("path", {class: "away", d: `M${group.left - 54} ${DOT}h50`}),
        svg("text", {x: group.left - 29, y: DOT - 8, "text-anchor": "middle"}, words.span(group.away)));
    }
    nodes.push(
      svg("g", {class: "label"}, svg("text", {class: "day", x: group.left + 2, y: 12}, group.session === null ? "Added by you" : words.onDay(first.time_ms)),
        svg("text", {x: group.left + 2, y: 24}, group.session === null ? "just now" : words.at(first.time_ms))),
      svg("rect", {class: strong ? "box strong" : "box", x: group.left, y: TOP, width: group.width, height: LOW - TOP + 2, rx: 9}),
      svg("path", {class: "axis", d: `M${group.left + 8} ${AXIS}h${group.width - 16}`}),
      svg("text", {x: group.left + group.width / 2, y: HEIGHT - 6, "text-anchor": "middle"}, share),
      group.events.map((event, n) => drawEvent(event, group.at[n], state, explained && explained.of_event.get(event.seq), act, event.seq === focusSeq)));
    return nodes;
  }

  /* The day of a session whose beginning is out of sight stays in sight. */
  function keepLabels(line, groups) {
    const inset = parseFloat(getComputedStyle(line).paddingLeft) || 0, edge = line.scrollLeft - inset + 8;
    line.querySelectorAll(".label").forEach((label, i) => {
      const {left, width} = groups[i], x = Math.min(Math.max(left + 2, edge), left + width - NARROWEST + 10);
      for (const text of label.children) text.setAttribute("x", x);
      label.setAttribute("visibility", left < edge && left + width < edge + NARROWEST - 12 ? "hidden" : "visible");
    });
  }

  /* Draw into `box`. state: {events, added, joins, removed, picked}; explained: by seq, or null; act: {pick, toggle}. */
  function draw(box, state, explained, act) {
    const groups = placed(sessions(state.events, state.added, state.joins));
    const last = groups[groups.length - 1];
    if (!last) {
      refill(box, el("p", {class: "soft"}, "No event yet. Add one below and see what is recommended."));
      return;
    }
    const all = groups.flatMap((group) => group.events);
    const stop = all.some((event) => event.seq === state.picked) ? state.picked : all[all.length - 1].seq;
    const drawing = svg("svg", {
      width: last.left + last.width + 2, height: HEIGHT, role: "group",
      "aria-label": `History of ${words.many(all.length, "event")} in ${words.many(groups.length, "session")}, oldest first`,
    }, groups.map((group) => drawSession(group, {...state, largest: explained ? explained.largest : 1}, explained, act, stop)));
    const before = box.querySelector(".line"), at = before ? before.scrollLeft : null;
    const line = el("div", {class: "line"}, drawing);
    roving(line, ".event");
    line.addEventListener("scroll", () => keepLabels(line, groups), {passive: true});
    refill(box, line);
    line.scrollLeft = at === null || act.fresh ? line.scrollWidth : at;
    keepLabels(line, groups);
  }

  /* Bring an event into sight, where it is not. */
  function reveal(box, seq) {
    const line = box.querySelector(".line"), event = line && line.querySelector(`[data-seq="${seq}"]`);
    if (!event) return;
    const [mine, its] = [line.getBoundingClientRect(), event.getBoundingClientRect()];
    if (its.left < mine.left || its.right > mine.right) line.scrollLeft += its.left - mine.left - mine.width / 2;
  }

  function key(shown) {
    const sign = (...nodes) => svg("svg", {width: 14, height: 14, viewBox: "0 0 14 14", "aria-hidden": "true", class: "line-key"}, ...nodes);
    const entries = [
      shown.gates && ["read with extra weight for this item", sign(svg("rect", {x: 4, y: 3, width: 6, height: 11, rx: 2, fill: "var(--accent)"}))],
      shown.picks && ["picked because it is alike", sign(svg("circle", {cx: 7, cy: 7, r: 3, fill: "var(--accent-ink)"}))],
      shown.changes && ["raises the score", sign(svg("path", {d: "M7 2l5 9H2z", fill: "var(--good)"}))],
      shown.changes && ["lowers the score", sign(svg("path", {d: "M7 12l5-9H2z", fill: "var(--bad)"}))],
      shown.old && ["faded: too old to be read", sign(svg("circle", {cx: 7, cy: 7, r: 5, fill: "var(--none)", opacity: 0.4}))],
    ].filter(Boolean);
    return el("div", {class: "key"}, entries.map(([text, icon]) => el("span", {}, icon, text)));
  }

  return {draw, key, reveal};
})();
