"use strict";
/* Elements, made by hand. Text goes in as text and never as markup, so no title or id can become a part of the page. */
const dom = (() => {
  const SVG = "http://www.w3.org/2000/svg";

  function filled(element, attributes, children) {
    for (const [name, value] of Object.entries(attributes)) {
      if (value === null || value === undefined || value === false) continue;
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else element.setAttribute(name, value === true ? "" : String(value));
    }
    put(element, ...children);
    return element;
  }

  /* el("button", {class: "x", onclick: f}, "text", otherElement, null) */
  function el(name, attributes = {}, ...children) {
    return filled(document.createElement(name), attributes, children);
  }

  function svg(name, attributes = {}, ...children) {
    return filled(document.createElementNS(SVG, name), attributes, children);
  }

  function put(element, ...children) {
    for (const child of children.flat(Infinity)) {
      if (child === null || child === undefined || child === false) continue;
      element.append(child instanceof Node ? child : document.createTextNode(String(child)));
    }
    return element;
  }

  function refill(element, ...children) {
    element.replaceChildren();
    return put(element, ...children);
  }

  const byId = (id) => document.getElementById(id);

  /* Read aloud by screen readers. */
  function say(text) {
    byId("said").textContent = text;
  }

  /* A row of tabs or events is one stop of the Tab key; arrows move inside. */
  function roving(container, selector, vertical = false) {
    container.addEventListener("keydown", (event) => {
      const all = [...container.querySelectorAll(selector)];
      const at = all.indexOf(document.activeElement);
      const step = {ArrowRight: 1, ArrowLeft: -1, ArrowDown: vertical ? 1 : 0, ArrowUp: vertical ? -1 : 0}[event.key];
      const to = event.key === "Home" ? 0 : event.key === "End" ? all.length - 1 : step ? at + step : null;
      if (at < 0 || to === null || !all[to]) return;
      event.preventDefault();
      for (const one of all) one.setAttribute("tabindex", "-1");
      all[to].setAttribute("tabindex", "0");
      all[to].focus();
    });
  }

  /* Draw anew without taking the keyboard's place away: whoever bears a `data-key` is found again by it. */
  function keepingFocus(draw, otherwise) {
    const held = document.activeElement && document.activeElement.closest("[data-key]"), key = held && held.dataset.key;
    draw();
    if (!key || (held.isConnected && document.activeElement === held)) return;
    const again = [...document.querySelectorAll("[data-key]")].find((one) => one.dataset.key === key) || otherwise();
    if (again) again.focus({preventScroll: true});
  }

  return {el, svg, put, refill, byId, say, roving, keepingFocus};
})();
