"use strict";
/* The frame: tabs, the key where one is asked for, and the first view. */
(() => {
  const {el, refill, byId, roving} = dom;
  const views = {user, items, quality, live}, begun = new Set();

  function show(name) {
    for (const other of Object.keys(views)) {
      const on = other === name, tab = byId(`tab-${other}`);
      tab.setAttribute("aria-selected", String(on));
      tab.setAttribute("tabindex", on ? "0" : "-1");
      byId(`view-${other}`).hidden = !on;
      if (!on && views[other].stop) views[other].stop();
    }
    if (!begun.has(name) || views[name].stop) views[name].start();
    begun.add(name);
  }

  function askForKey(message) {
    const field = el("input", {class: "field", type: "password", id: "key", autocomplete: "off", required: true});
    const form = el("form", {class: "row", onsubmit: (event) => { event.preventDefault(); source.useKey(field.value); begin(); }}, field, el("button", {class: "button main", type: "submit"}, "Open"));
    refill(byId("view-user"), el("section", {class: "card"}, el("h2", {}, el("label", {for: "key"}, message)), el("p", {class: "soft"}, "It is held by this page alone, until it is closed."), form));
    field.focus();
  }

  async function begin() {
    try {
      const about = await source.about();
      byId("about").textContent = `model ${about.model} · ${words.many(about.num_items, "item")} · bundle ${about.fingerprint.slice(0, 8)}${source.live ? "" : " · a file, nothing is loaded"}`;
      byId("about").title = `hpgr ${about.version}`;
      refill(byId("view-user"));
      show("user");
    } catch (error) {
      if (!(error instanceof source.Refused)) throw error;
      if (error.needsKey) askForKey(error.message);
      else refill(byId("view-user"), el("p", {class: "note", role: "alert"}, error.message));
    }
  }

  for (const name of Object.keys(views)) byId(`tab-${name}`).addEventListener("click", () => show(name));
  const tabs = document.querySelector("[role=tablist]");
  roving(tabs, "[role=tab]");
  begin();
})();
