// Elements from names and texts, and lists that change in place. Texts only ever become text nodes.

const SVG = 'http://www.w3.org/2000/svg';

export const $ = id => document.getElementById(id);

function build(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) if (value != null) node.setAttribute(name, value);
  node.append(...children.filter(child => child != null));
  return node;
}

export const h = (name, attributes = {}, ...children) => build(document.createElement(name), attributes, children);
export const s = (name, attributes = {}, ...children) => build(document.createElementNS(SVG, name), attributes, children);

export function text(node, value) {
  const wanted = String(value);
  if (node.textContent !== wanted) node.textContent = wanted;
}

/** Sets attributes that differ; null removes. */
export function attr(node, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value == null) node.removeAttribute(name);
    else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
  }
}

const kept = new WeakMap();

/** Makes the children of `parent` follow `items`: children of the same key stay the same elements. */
export function list(parent, items, keyOf, make, update = () => {}) {
  const before = kept.get(parent) ?? new Map();
  const after = new Map();
  items.forEach((item, index) => {
    const key = keyOf(item, index);
    after.set(key, before.get(key) ?? make(item));
  });
  for (const [key, node] of before) if (after.get(key) !== node) node.remove();
  let at = null;
  for (const node of after.values()) {
    const next = at ? at.nextSibling : parent.firstChild;
    if (next !== node) parent.insertBefore(node, next);
    at = node;
  }
  items.forEach((item, index) => update(after.get(keyOf(item, index)), item, index));
  kept.set(parent, after);
}

export function clear(parent) {
  kept.delete(parent);
  parent.replaceChildren();
}
