"use strict";
/* Where the data come from: the service, or the file that this page stands in. Both answer the same questions. */
const source = (() => {
  const embedded = document.getElementById("embedded");

  class Refused extends Error {}

  function ofService() {
    let key = null;

    async function ask(path, body) {
      const headers = body === undefined ? {} : {"Content-Type": "application/json"};
      if (key) headers["X-API-Key"] = key;
      let answer;
      try {
        answer = await fetch(path, {method: body === undefined ? "GET" : "POST", headers, body: body && JSON.stringify(body)});
      } catch {
        throw new Refused("The service does not answer. Is it still running?");
      }
      const found = await answer.json().catch(() => ({}));
      if (answer.status === 401) throw Object.assign(new Refused("This service asks for a key."), {needsKey: true});
      if (!answer.ok) throw new Refused(found.error || found.detail || `The service answered ${answer.status}.`);
      return found;
    }

    const query = (path, text) => ask(`${path}?q=${encodeURIComponent(text)}`);
    return {
      live: true,
      useKey: (text) => { key = text; },
      about: () => ask("v1/page/about"),
      users: async (text) => (await query("v1/page/users", text)).users,
      items: async (text) => (await query("v1/page/items", text)).items,
      look: (wanted) => ask("v1/page/look", wanted),
      explain: (wanted, item) => ask("v1/page/explain", {...wanted, item_id: item}),
      map: () => ask("v1/page/map"),
      near: async (item) => (await ask("v1/page/near", {item_id: item})).items,
      quality: () => ask("v1/page/quality"),
      compare: async (first, second) => (await ask("v1/page/compare", {first, second})).differences,
      counters: () => ask("v1/page/live"),
    };
  }

  /* A file has no model: it knows the answers that were asked for when it was written. */
  function ofFile(data) {
    const refused = (text) => Promise.reject(new Refused(text));
    const only = "A file can leave out one event at a time; hpgr serve answers any change.";
    return {
      live: false,
      about: async () => data.about,
      users: async () => [{user_id: data.look.user_id, source: "log"}],
      items: async (text) => (data.map ? data.map.points : []).filter((one) =>
        `${one.title} ${one.item_id}`.toLowerCase().includes(text.trim().toLowerCase())).slice(0, 20),
      look: async (wanted) => {
        const removed = wanted.removed || [];
        if (!removed.length) return data.look;
        if (removed.length > 1 || !data.without[removed[0]]) return refused(only);
        return {...data.look, items: data.without[removed[0]]};
      },
      explain: (wanted, item) => {
        const found = data.explained[item];
        if (found && !(wanted.removed || []).length) return Promise.resolve(found);
        return refused("This file explains the list as it was; put the event back to see why.");
      },
      map: () => (data.map ? Promise.resolve(data.map) : refused("This model has no item vectors to draw.")),
      near: (item) => (data.near[item] ? Promise.resolve(data.near[item]) : refused("This file keeps the nearest items of the recommended ones only.")),
      quality: async () => data.quality,
      compare: (first, second) => {
        const found = data.compared.find((one) => one.first === first && one.second === second);
        return found ? Promise.resolve(found.differences) : refused("This file compares the bundle's own card with the others.");
      },
      user: data.look.user_id,
      started: data.look,
    };
  }

  return {...(embedded ? ofFile(JSON.parse(embedded.textContent)) : ofService()), Refused};
})();
