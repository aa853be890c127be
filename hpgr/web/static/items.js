"use strict";
/* The items on a plane: near means that people do them in the same company. */
const items = (() => {
  const {el, svg, refill, put, byId, say} = dom;
  const EDGE = 0.06;
  let found = null, boxes = null, dots = new Map(), frame = null, focus = null, only = null, which = "first", near = [];

  /* The picture that holds every item, before and after, as large as may be and with one scale for both axes. */
  function framed() {
    const spots = found.points.flatMap((one) => [one.before, one.first, one.second].filter(Boolean)), xs = spots.map((one) => one[0]), ys = spots.map((one) => -one[1]);
    const [left, right, top, low] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
    const tall = Math.min(Math.max((low - top) / Math.max(right - left, 1), 0.5), 0.85);
    const wide = Math.max(right - left, (low - top) / tall, 1) * (1 + 2 * EDGE);
    frame = {wide, high: wide * tall, left: (left + right - wide) / 2, top: (top + low - wide * tall) / 2, middle: (left + right) / 2};
  }

  function drawn() {
    dots = new Map();
    framed();
    const points = found.points.map((one) => {
      const dot = svg("circle", {class: `point ${words.colour(one.category)}`, r: radius(one.count), onclick: () => choose(one)}, svg("title", {}, one.title));
      dots.set(one.item_id, {dot, one});
      return dot;
    });
    boxes.labels = svg("g");
    refill(boxes.map, svg("svg", {viewBox: `${frame.left} ${frame.top} ${frame.wide} ${frame.high}`, role: "img", "font-size": frame.wide / (narrow() ? 24 : 42),
      "aria-label": `Map of ${words.many(points.length, "item")}. Find one with the field above; its nearest items are listed beside.`}, points, boxes.labels));
    place();
  }

  const largest = () => Math.max(...found.points.map((one) => one.count), 1);
  const narrow = () => matchMedia("(max-width: 48rem)").matches;
  const radius = (count) => frame.wide * (narrow() ? 1.5 : 1) * (0.0045 + 0.0075 * Math.sqrt(count / largest()));
  const spot = (one) => { const [x, y] = one[which] || one.first; return [x, -y]; };

  /* Through the style object, which the page's policy allows and which can glide. */
  function place() {
    for (const {dot, one} of dots.values()) {
      const [x, y] = spot(one);
      dot.style.transform = `translate(${x}px, ${y}px)`;
    }
    mark();
  }

  function mark() {
    const close = new Set(near.map((one) => one.item_id));
    for (const [id, {dot, one}] of dots) {
      dot.classList.toggle("focus", focus !== null && id === focus.item_id);
      dot.classList.toggle("near", close.has(id));
      dot.classList.toggle("faint", only !== null && one.category !== only && !close.has(id) && !(focus && id === focus.item_id));
    }
    const here = focus && dots.get(focus.item_id);
    refill(boxes.labels);
    if (!here) return;
    here.dot.parentNode.append(here.dot, boxes.labels);
    const [x, y] = spot(here.one), right = x < frame.middle, away = frame.wide / 60;
    put(boxes.labels, svg("text", {x: x + (right ? away : -away), y: y + away / 2, "text-anchor": right ? "start" : "end"}, words.cut(focus.title, 30)));
  }

  async function choose(one) {
    focus = one;
    near = [];
    mark();
    refill(boxes.near, el("h2", {}, one.title), why.category(one.category, found.categories),
      el("p", {class: "soft small num"}, one.count === undefined ? "" : `${words.many(one.count, "event")} in training`));
    try {
      near = await source.near(one.item_id);
    } catch (error) {
      if (!(error instanceof source.Refused)) throw error;
      put(boxes.near, el("p", {class: "soft"}, error.message));
      return;
    }
    if (focus !== one) return;
    mark();
    put(boxes.near, el("h3", {}, "Nearest items"), el("ol", {class: "list"}, near.map((other, i) =>
      el("li", {}, el("button", {class: "pickable", onclick: () => choose(dots.has(other.item_id) ? dots.get(other.item_id).one : other)},
        el("span", {class: "place"}, i + 1), el("span", {}, el("span", {class: "title"}, other.title), why.category(other.category, found.categories)),
        el("span", {class: "end soft num"}, words.number(other.score)))))));
    say(`${one.title}: nearest is ${near.length ? near[0].title : "nothing"}`);
  }

  function legend() {
    const counts = new Map();
    for (const one of found.points) if (one.category !== null) counts.set(one.category, (counts.get(one.category) || 0) + 1);
    const most = [...counts].sort((a, b) => b[1] - a[1]).slice(0, 24);
    return el("div", {class: "legend", role: "group", "aria-label": "Show one category"}, most.map(([number, count]) => {
      const one = el("button", {class: `chip ${words.colour(number)}`, "aria-pressed": "false", onclick: () => {
        only = only === number ? null : number;
        for (const other of one.parentNode.children) other.setAttribute("aria-pressed", String(other === one && only !== null));
        mark();
      }}, el("i"), found.categories[number], el("span", {class: "num"}, words.count(count)));
      return one;
    }));
  }

  function spaces() {
    const radio = (value, text) => el("label", {class: "check"}, el("input", {type: "radio", name: "space", value, checked: value === which, onchange: () => { which = value; place(); }}), text);
    return el("div", {class: "row small", role: "radiogroup", "aria-label": "Which vectors"}, found.has_before && radio("before", "Before training"), radio("first", found.has_second ? "After pre-training (stage 1)" : "After training"), found.has_second && radio("second", "After learning to rank (stage 2)"));
  }

  function body() {
    const search = picker.make({label: "Find an item", placeholder: "Find an item by title or id …", find: source.items, empty: "No item of that name.", row: user.itemRow,
      chosen: (one) => choose(dots.has(one.item_id) ? dots.get(one.item_id).one : one)});
    const share = found.spread.reduce((a, b) => a + b, 0);
    boxes.map = el("div", {class: "map"});
    boxes.near = el("section", {class: "card", id: "near", "aria-label": "Nearest items"}, el("p", {class: "soft"}, "Choose an item on the map, or find one, to see what is near it."));
    refill(byId("view-items"), el("section", {class: "card"}, el("h2", {}, "Items as the model sees them"),
      el("p", {class: "soft"}, "Pre-training places every item by the company it keeps in people's sessions. Items that lie close are chosen by the same people in the same sittings; the model was not told their categories."),
      el("div", {class: "row spread"}, search, spaces())),
    el("div", {class: "pair wide"}, el("section", {class: "card"}, boxes.map, legend(),
      el("p", {class: "soft small"}, `${found.points.length < found.num_items ? `The ${words.many(found.points.length, "most popular item")} of ${words.count(found.num_items)}` : `All ${words.many(found.num_items, "item")} of the training`}; larger dots were chosen more often. The ${found.dim} dimensions are flattened to the two that hold most: ${words.percent(share)} of the spread, so some that look close are not. The list beside is exact. `,
        "The bundle does not keep the vectors from before pre-training: they were random numbers, without any picture in them.")), boxes.near));
    drawn();
  }

  async function start() {
    boxes = {};
    refill(byId("view-items"), el("p", {class: "soft"}, "Drawing the map …"));
    try {
      found = await source.map();
      body();
    } catch (error) {
      if (!(error instanceof source.Refused)) throw error;
      refill(byId("view-items"), el("section", {class: "card"}, el("h2", {}, "Items"), el("p", {class: "note"}, error.message)));
    }
  }

  return {start};
})();
