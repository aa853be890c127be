"use strict";
/* Why an item stands where it does, in sentences that need no paper, and in bars for who wants to see. */
const why = (() => {
  const {el, svg, refill} = dom;
  const SHOWN = 6, TINY = 0.005, FAINT = 0.2;

  let reading = false;

  const strong = (text) => el("b", {}, words.cut(text, 60));

  /* What of an explanation the timeline needs, by event and session. */
  function indexed(told) {
    const changes = told.events.map((one) => Math.abs(one.change ?? 0));
    const shares = told.sessions.map((one) => one.share ?? 0);
    return {
      of_event: new Map(told.events.map((one) => [one.seq, one])),
      of_session: new Map(told.sessions.flatMap((one) => one.seqs.map((seq) => [seq, one]))),
      largest: Math.max(...changes, TINY),
      strongest: told.sessions.length > 1 ? Math.max(...shares) : null,
    };
  }

  function whoDecides(told, look) {
    const read = told.events.length;
    if (told.source === "prior") return ["Nothing is known of this visitor yet. So the list is simply what was popular when the model was trained."];
    const start = told.source === "blend"
      ? [`With only ${words.many(read, "event")}, the model is not trusted alone: the list mixes what it says with what is popular. `] : [];
    if (look.ordered_by === "retrieve") {
      return [...start, `The order comes from the model's first stage, which reads all ${words.many(read, "event")} together and asks: what fits next?`,
        told.selects ? " The bars show which events its second stage would turn to; they do not order this list." : ""];
    }
    if (!told.selects) return [...start, `The model reads all ${words.many(read, "event")} for every item and picks none of them out.`];
    if (told.cold) return [...start, strong(told.title), " is new: nothing was learnt about it. So the model turned to the newest events."];
    const chosen = told.events.filter((one) => one.chosen).length;
    const rest = told.only ? "Only those, and what lies right beside them, are read." : "Those are read with extra weight; the rest still counts.";
    return [...start, "The model held ", strong(told.title), ` against each of the ${words.many(read, "event")} it reads, and `,
      chosen >= read ? `may pick up to ${told.most_chosen} that are alike: here that is all of them. What each one does is in the numbers below.`
        : `picked the ${chosen} that are most alike. ${rest}`, faint(told)];
  }

  /* The best of a bad lot is not a reason. */
  function faint(told) {
    const best = Math.max(...told.events.map((one) => one.similarity ?? -1));
    return best < FAINT ? ` None of them is very much like it, though: the best has a likeness of ${words.number(best)}.` : "";
  }

  function whatHelped(told, events) {
    const known = told.events.filter((one) => one.change !== null && events.has(one.seq));
    if (!known.length) {
      return told.source === "model" && told.events.length ? ["Take events out one by one to see what each of them does."] : [];
    }
    const best = known.reduce((a, b) => (b.change > a.change ? b : a)), worst = known.reduce((a, b) => (b.change < a.change ? b : a));
    const said = [];
    if (best.change >= TINY) {
      const event = events.get(best.seq);
      said.push("What helped most is ", strong(event.title), event.seq < 0 ? ", which you added" : ` on ${words.onDay(event.time_ms)}`,
        `: without it the score would be ${words.number(best.change)} lower. `);
    }
    if (worst.change <= -TINY) {
      said.push("Against it speaks ", strong(events.get(worst.seq).title), `: without it the score would be ${words.number(-worst.change)} higher.`);
    }
    if (!said.length) said.push("No single event decides: leaving out any one of them hardly moves the score.");
    return said;
  }

  /* Nobody needs a model to understand that somebody comes back to an item. */
  function again(told, look) {
    const same = look.events.filter((one) => one.item_id === told.item_id);
    if (!same.length) return null;
    return el("p", {}, `They chose this very item before: ${same.length === 1 ? "once" : words.many(same.length, "time")}, last ${same[same.length - 1].seq < 0 ? "by your change" : `on ${words.when(same[same.length - 1].time_ms)}`}.`);
  }

  function bySession(told, events) {
    const known = told.sessions.filter((one) => one.change !== null && one.seqs.some((seq) => events.has(seq)));
    if (known.length < 2) return null;
    const best = known.reduce((a, b) => (b.change > a.change ? b : a));
    const first = events.get(best.seqs.find((seq) => events.has(seq)));
    if (best.change < TINY || first.seq < 0) return null;
    return el("p", {}, "Of the sessions, that of ", strong(words.when(first.time_ms)), ` does most: without its ${words.many(best.seqs.length, "event")} the score would be ${words.number(best.change)} lower.`);
  }

  /* A bar from the middle: to the right what raises the score, to the left what lowers it. */
  function meter(value, largest) {
    const half = 50, length = Math.min(half, Math.abs(value) / largest * half);
    return svg("svg", {class: "meter", viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true"},
      svg("rect", {class: "ground", x: 0, y: 2, width: 100, height: 6}),
      svg("rect", {class: value >= 0 ? "plus" : "minus", x: value >= 0 ? half : half - length, y: 2, width: length, height: 6}),
      svg("path", {class: "mid", d: "M50 0v10", "vector-effect": "non-scaling-stroke"}));
  }

  function reason(one, events, largest, act) {
    const event = events.get(one.seq);
    const alike = one.similarity === null ? "" : ` · likeness ${words.number(one.similarity)}`;
    return el("li", {},
      el("span", {}, el("span", {}, words.cut(event.title, 60)), el("span", {class: "when num"}, event.seq < 0 ? "added by you" : words.when(event.time_ms), alike)),
      meter(one.change, largest),
      el("span", {class: "row"},
        el("span", {class: `num small ${one.change >= 0 ? "good" : "bad"}`}, words.signed(one.change)),
        el("button", {class: "button slim", "data-key": `reason ${one.seq}`, "aria-label": `Leave out ${event.title}`, onclick: () => act.toggle(one.seq)}, "Leave out")));
  }

  function glossary(told, long) {
    return el("details", {open: reading, ontoggle: (event) => { reading = event.target.open; }}, el("summary", {"data-key": "how"}, "How to read this"),
      el("p", {}, "An event is one thing the user did with one item. A session is a stretch of events without a long break."),
      el("p", {}, "Likeness compares two items by what people did before and after them: 1 is the same company, 0 has nothing to do with it, below 0 is rather the opposite. It was learnt before the model learnt to rank."),
      told.selects ? el("p", {}, "The bars over the history are the model's attention mask: for each item it picks the most alike events and lifts them, and their neighbours a little, like a bell curve round each pick.") : null,
      el("p", {}, "The score orders the list and means nothing by itself; its differences do. “Leave out” asks the model again as if that event had never happened. Effects of single events need not add up: events speak to each other."),
      long ? el("p", {}, "This history is longer than what the model reads. Leaving an event out lets an older one in, so the list may move by more than the effects listed here, which are of the event alone.") : null,
      el("p", {}, "This shows what the model does, not why the user did it."));
  }

  /* Fill `box` for the item in focus. told: the explanation; act: {toggle}. */
  function draw(box, told, look, act) {
    const events = new Map(look.events.map((one) => [one.seq, one]));
    const measured = told.events.filter((one) => one.change !== null && events.has(one.seq)).sort((a, b) => Math.abs(b.change) - Math.abs(a.change)).slice(0, SHOWN);
    const largest = Math.max(...measured.map((one) => Math.abs(one.change)), TINY);
    const at = look.items.find((one) => one.item_id === told.item_id);
    refill(box,
      el("div", {class: "row spread"}, el("h2", {}, `Why ${told.title}?`), category(told.category, look.categories)),
      el("p", {class: "soft small num"}, at ? `Place ${at.rank} of ${look.items.length} · ` : "", `score ${words.number(told.score)}`),
      el("p", {class: "lead"}, whoDecides(told, look)), again(told, look), el("p", {}, whatHelped(told, events)), bySession(told, events),
      measured.length ? el("h3", {}, "What single events do to the score") : null,
      measured.length ? el("ul", {class: "reasons"}, measured.map((one) => reason(one, events, largest, act))) : null,
      glossary(told, look.num_events > look.max_len));
  }

  function category(number, names) {
    if (number === null || number === undefined || !names[number]) return null;
    return el("span", {class: `chip ${words.colour(number)}`}, el("i"), names[number]);
  }

  return {draw, indexed, category};
})();
