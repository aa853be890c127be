"use strict";
/* A field that looks things up while one types: a combobox with a list of options, by the ARIA pattern. */
const picker = (() => {
  const {el, refill} = dom;
  let number = 0;

  /* {label, placeholder, find: text -> Promise<rows>, row: one -> nodes, chosen: one -> void, empty} */
  function make({label, placeholder, find, row, chosen, empty}) {
    const id = `picker-${++number}`;
    let rows = [], at = -1, asked = 0, timer = 0;
    const list = el("ul", {role: "listbox", id: `${id}-list`, "aria-label": label, hidden: true});
    const field = el("input", {
      class: "field", id, type: "text", role: "combobox", autocomplete: "off", spellcheck: "false", "aria-label": label,
      "aria-expanded": "false", "aria-controls": `${id}-list`, "aria-autocomplete": "list", placeholder,
    });

    function show(open) {
      list.hidden = !open;
      field.setAttribute("aria-expanded", String(open));
      if (!open) mark(-1);
    }

    function mark(to) {
      at = to;
      [...list.children].forEach((one, i) => one.setAttribute("aria-selected", String(i === at)));
      if (at >= 0 && rows[at]) {
        field.setAttribute("aria-activedescendant", `${id}-${at}`);
        list.children[at].scrollIntoView({block: "nearest"});
      } else field.removeAttribute("aria-activedescendant");
    }

    function take(one) {
      field.value = "";
      show(false);
      chosen(one);
    }

    async function look() {
      const turn = ++asked;
      let found, said = empty;
      try {
        found = await find(field.value);
      } catch (error) {
        [found, said] = [[], error.message];
      }
      if (turn !== asked || document.activeElement !== field) return;
      rows = found;
      refill(list, rows.map((one, i) =>
        el("li", {role: "option", id: `${id}-${i}`, "aria-selected": "false", onpointerdown: (event) => { event.preventDefault(); take(one); }}, row(one))));
      if (!rows.length) refill(list, el("li", {class: "empty", role: "option", "aria-disabled": "true"}, said));
      show(true);
      if (rows.length && field.value) mark(0);
    }

    function soon() {
      clearTimeout(timer);
      timer = setTimeout(look, 120);
    }

    field.addEventListener("input", soon);
    field.addEventListener("focus", soon);
    field.addEventListener("blur", () => { clearTimeout(timer); show(false); });
    field.addEventListener("keydown", (event) => {
      if (event.key === "Escape") show(false);
      else if (event.key === "Enter" && !list.hidden && rows[at]) { event.preventDefault(); take(rows[at]); }
      else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
        event.preventDefault();
        if (list.hidden) look();
        else if (rows.length) mark((at + (event.key === "ArrowDown" ? 1 : -1) + rows.length) % rows.length);
      }
    });
    return el("div", {class: "picker"}, field, list);
  }

  return {make};
})();
