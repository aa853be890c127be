"use strict";
/* The view of one user: search, history, list, reasons, and what would be if. Nothing done here is kept by the service. */
const user = (() => {
  const {el, refill, put, byId, say, keepingFocus} = dom;
  const fresh = () => ({who: null, removed: new Set(), added: [], base: null, now: null, told: null, focus: null, picked: null, by: "auto", exclude_seen: false});
  let state = fresh(), boxes = null, turn = 0;

  const wanted = (changed = true) => ({
    ...(state.who.user_id === null ? {} : {user_id: state.who.user_id}),
    ...(state.base ? {at: state.base.at_ms} : {}),
    ...(changed ? {removed: [...state.removed], added: state.added.map((one) => one.item_id)} : {}),
    by: state.by, exclude_seen: state.exclude_seen,
  });

  async function open(who) {
    state = {...fresh(), who, by: state.by, exclude_seen: state.exclude_seen};
    if (source.live) history.replaceState(null, "", who.user_id === null ? "#visitor" : `#user=${encodeURIComponent(who.user_id)}`);
    await renew(true);
  }

  /* Ask for the list anew, then for the reasons of the item in focus. */
  async function renew(first = false) {
    const mine = ++turn;
    boxes.body.classList.add("busy");
    try {
      const now = await source.look(wanted());
      if (mine !== turn) return;
      if (first || !state.base) state.base = now;
      state.now = now;
      if (!state.focus || !now.items.some((one) => one.item_id === state.focus)) state.focus = now.items.length ? now.items[0].item_id : null;
      state.told = null;
      paint(first);
      say(state.removed.size || state.added.length ? `List changed. First is now ${now.items.length ? now.items[0].title : "nothing"}.` : "");
      await reasons(mine);
    } catch (error) {
      if (mine === turn) failed(error);
    } finally {
      if (mine === turn) boxes.body.classList.remove("busy");
    }
  }

  async function reasons(mine = ++turn) {
    if (!state.focus) return;
    try {
      const told = await source.explain(wanted(), state.focus);
      if (mine !== turn) return;
      state.told = told;
      paint();
      const best = told.events.reduce((a, b) => ((b.change ?? b.gate ?? 0) > (a.change ?? a.gate ?? 0) ? b : a), told.events[0] ?? {});
      timeline.reveal(boxes.line, best.seq);
    } catch (error) {
      if (!(error instanceof source.Refused)) throw error;
      if (mine === turn) refill(boxes.why, el("p", {class: "soft"}, error.message));
    }
  }

  function failed(error) {
    if (!(error instanceof source.Refused)) throw error;
    if (!state.base) boxes.body.hidden = true;
    refill(boxes.error, el("p", {class: "note", role: "alert"}, error.message));
    boxes.error.hidden = false;
  }

  const act = {
    pick: (seq) => { state.picked = state.picked === seq ? null : seq; paint(); },
    toggle: (seq) => {
      if (seq < 0) state.added = state.added.filter((_, i) => -1 - i !== seq);
      else if (!state.removed.delete(seq)) {
        if (!source.live) state.removed.clear();
        state.removed.add(seq);
      }
      renew();
    },
    add: (item) => { state.added.push(item); renew(); },
    undo: () => { state.removed.clear(); state.added = []; renew(); },
    focus: (item) => { state.focus = item; state.told = null; paint(); reasons(); },
  };

  /* Events as they were, with those added on the page as the service numbers them. */
  const added = () => state.now.events.filter((one) => one.seq < 0);

  function joins() {
    const kept = state.now.events.filter((one) => one.seq > 0), more = added();
    return kept.length > 0 && more.length > 0 && kept[kept.length - 1].session === more[0].session;
  }

  const paint = (first = false) => keepingFocus(() => repaint(first), () => boxes.line.querySelector(".event[tabindex='0']"));

  function repaint(first) {
    boxes.body.hidden = boxes.error.hidden = false;
    refill(boxes.error);
    const told = state.told && why.indexed(state.told);
    boxes.hello.classList.toggle("slim", source.live);
    for (const option of boxes.by ? boxes.by.options : []) option.disabled = (option.value === "rank" && !state.now.ranks) || (option.value === "retrieve" && !state.now.retrieves);
    refill(boxes.head, headline());
    timeline.draw(boxes.line, {events: state.base.events, added: added(), joins: joins(), removed: state.removed, picked: state.picked}, told, {...act, fresh: first});
    refill(boxes.key, timeline.key({
      gates: state.told && state.told.selects, picks: state.told && state.told.selects && !state.told.cold,
      changes: state.told && state.told.events.some((one) => one.change !== null), old: state.base.events.some((one) => !one.read),
    }));
    refill(boxes.detail, detail(told));
    refill(boxes.changes, changes());
    refill(boxes.list, list());
    if (state.told) why.draw(boxes.why, state.told, state.now, act);
    else if (!state.focus) refill(boxes.why, el("p", {class: "soft"}, "Nothing is left to recommend."));
  }

  function headline() {
    const {base} = state, n = base.events.length, sessions = new Set(base.events.map((one) => one.session)).size;
    const name = state.who.user_id === null ? "A new visitor" : `User ${state.who.user_id}`;
    const origin = {live: "told to this service", log: "from the training log", given: "made up on this page"}[base.from];
    const facts = n ? `${words.many(base.num_events, "event")} in ${words.many(sessions, "session")}, ${words.onDate(base.events[0].time_ms)} to ${words.onDate(base.events[n - 1].time_ms)}, ${origin}. `
      : `${origin[0].toUpperCase()}${origin.slice(1)}. `;
    const untitled = base.has_titles ? "" : " Items go by their ids: the log that the model was trained on had no titles.";
    const older = base.older ? `The ${words.count(base.older)} oldest are not drawn. ` : "";
    return [el("h2", {}, name), el("p", {class: "soft small"}, facts, older,
      n ? "Each dot is an event, its colour the item's category; boxes are sessions. Choose a dot to look closer or leave it out." : "", untitled)];
  }

  function detail(told) {
    const event = [...state.base.events, ...added()].find((one) => one.seq === state.picked);
    if (!event) return null;
    const out = state.removed.has(event.seq), one = told && told.of_event.get(event.seq);
    const target = state.told && words.cut(state.told.title, 40), facts = [];
    if (!event.known) facts.push("The model's log does not hold this item; it counts as an unknown one.");
    else if (!event.learnt) facts.push("The item came after training; the model knows nothing of it.");
    if (!event.read) facts.push(`Too old: the model reads the newest ${words.count(state.base.max_len)} events.`);
    if (out) facts.push("Left out: the list below is as if this had not happened.");
    else if (one) {
      if (one.similarity !== null && event.learnt) facts.push(`Likeness to ${target}: ${words.number(one.similarity)}.`);
      if (one.gate !== null) facts.push(one.gate > 0 ? `Extra weight: ${words.percent(one.gate)} of the most there is${one.chosen ? "" : " (as a neighbour of a picked event)"}.` : "Not picked for this item.");
      if (one.change !== null) facts.push(`Without it the score would be ${words.number(Math.abs(one.change))} ${one.change >= 0 ? "lower" : "higher"}.`);
    }
    return el("div", {class: "detail row spread"},
      el("div", {class: "told"}, el("b", {}, event.title), " ", why.category(event.category, state.base.categories),
        el("div", {class: "soft small"}, event.seq < 0 ? "Added by you" : [words.when(event.time_ms), event.action ? ` · ${event.action}` : ""], facts.length ? ` · ${facts.join(" ")}` : "")),
      el("button", {class: out ? "button main" : "button", id: "leave-out", "data-key": "leave out", onclick: () => act.toggle(event.seq)}, event.seq < 0 ? "Take away" : out ? "Put back" : "Leave out"));
  }

  function changes() {
    if (!state.removed.size && !state.added.length) return null;
    const tag = (text, seq, undo) => el("span", {class: "tag"}, text, el("button", {"aria-label": undo, "data-key": `undo ${seq}`, onclick: () => act.toggle(seq)}, "×"));
    const title = (seq) => words.cut(state.base.events.find((one) => one.seq === seq)?.title ?? "event", 28);
    return el("div", {class: "row", id: "changes"}, el("span", {class: "soft small"}, "What if:"),
      [...state.removed].map((seq) => tag(`without ${title(seq)}`, seq, `Put back ${title(seq)}`)),
      state.added.map((item, i) => tag(`with ${words.cut(item.title, 28)}`, -1 - i, `Take away ${item.title}`)),
      el("button", {class: "button slim", "data-key": "undo", onclick: act.undo}, "Undo all"));
  }

  function list() {
    const before = new Map(state.base.items.map((one) => [one.item_id, one.rank]));
    const changed = state.removed.size > 0 || state.added.length > 0;
    const left = changed ? state.base.items.filter((one) => !state.now.items.some((other) => other.item_id === one.item_id)) : [];
    const rows = state.now.items.map((one) => {
      const was = before.get(one.item_id), up = was - one.rank;
      const moved = !changed ? null : was === undefined ? el("span", {class: "moved good"}, "new") : up ? el("span", {class: `moved ${up > 0 ? "good" : "bad"}`}, `${up > 0 ? "▲" : "▼"} ${Math.abs(up)}`) : null;
      return el("li", {}, el("button", {class: "pickable", "data-key": `item ${one.item_id}`, "aria-pressed": String(one.item_id === state.focus), onclick: () => act.focus(one.item_id)},
        el("span", {class: "place"}, one.rank), el("span", {}, el("span", {class: "title"}, one.title), why.category(one.category, state.now.categories)),
        el("span", {class: "end num"}, moved, el("span", {class: "soft"}, words.number(one.score)))));
    });
    return [el("ol", {class: "list", id: "list"}, rows),
      left.length ? el("p", {class: "soft small"}, "No longer in the list: ", left.map((one) => words.cut(one.title, 30)).join(", "), ".") : null];
  }

  function controls() {
    const by = boxes.by = el("select", {class: "field", "aria-label": "What orders the list", onchange: (event) => { state.by = event.target.value; renewBoth(); }},
      [["auto", "Order: as the service does"], ["retrieve", "Order: first stage"], ["rank", "Order: ranker"]].map(([value, text]) => el("option", {value}, text)));
    const seen = el("input", {type: "checkbox", onchange: (event) => { state.exclude_seen = event.target.checked; renewBoth(); }});
    const more = picker.make({label: "Add an event with an item", placeholder: "What if they now chose … (item)", find: source.items, chosen: act.add, empty: "No item of that name.", row: itemRow});
    return el("div", {class: "row"}, more, by, el("label", {class: "check small"}, seen, "Leave out items already seen"));
  }

  /* Another way of ordering: what was compared with must be ordered that way too. */
  async function renewBoth() {
    const mine = ++turn;
    try {
      const base = await source.look({...wanted(false)});
      if (mine !== turn) return;
      state.base = base;
      await renew();
    } catch (error) {
      if (mine === turn) failed(error);
    }
  }

  const itemRow = (one) => [el("span", {}, one.title), el("span", {class: "soft small"}, one.title === one.item_id ? "" : one.item_id)];

  function search() {
    if (!source.live) return null;
    const people = picker.make({
      label: "Find a user by id", placeholder: "Find a user by id …", find: source.users, chosen: open,
      empty: "No such user. The service knows the users it was told of, and those of the store given by --store.",
      row: (one) => [el("span", {}, one.user_id), el("span", {class: "soft small"}, one.source === "live" ? "live" : "training log")],
    });
    return [el("div", {class: "row"}, people, el("button", {class: "button", onclick: () => open({user_id: null})}, "Make up a visitor")), boxes.some];
  }

  /* For who knows no id yet. */
  async function suggest() {
    try {
      const users = (await source.users("")).slice(0, 6);
      refill(boxes.some, users.length ? ["Or begin with ", users.map((one) => el("button", {class: "button slim", onclick: () => open(one)}, one.user_id))]
        : "The service has not been told of anybody yet. Make up a visitor, or start it with --store STORE to look at the users of a training log.");
    } catch (error) {
      if (!(error instanceof source.Refused)) throw error;
    }
  }

  function build() {
    boxes = {some: el("p", {class: "soft small row some"}), error: el("div"), head: el("div"), line: el("div"), key: el("div"), detail: el("div"), changes: el("div"), list: el("div"), why: el("section", {class: "card why", id: "why", "aria-label": "Why this item"})};
    boxes.body = el("div", {hidden: true},
      el("section", {class: "card", "aria-label": "History"}, boxes.head, boxes.line, boxes.key, boxes.detail),
      source.live ? el("section", {class: "card", "aria-label": "What if"}, controls(), el("div", {}, boxes.changes)) : boxes.changes,
      el("div", {class: "pair"},
        el("section", {class: "card", "aria-label": "Recommended"}, el("h2", {}, "Recommended now"), boxes.list), boxes.why));
    boxes.hello = el("section", {class: "card", id: "hello"},
      el("h2", {}, source.live ? "Look at one user" : "Why these items?"),
      el("p", {class: "soft"}, source.live ? "See what somebody did, what is recommended to them now, and why. Then take events away or add some: the list changes before your eyes, and nothing of it is kept."
        : "What somebody did, what is recommended to them, and why. Leave out an event and see the list change; everything was worked out beforehand and stands in this file."),
      search(), boxes.error);
    put(byId("view-user"), boxes.hello, boxes.body);
  }

  async function start() {
    build();
    if (source.live) suggest();
    const hash = decodeURIComponent(location.hash.slice(1));
    if (!source.live) await open({user_id: source.user});
    else if (hash.startsWith("user=")) await open({user_id: hash.slice(5)});
    else if (hash === "visitor") await open({user_id: null});
  }

  return {start, itemRow};
})();
