// Builds and updates the document.
//
// Whatever is shown becomes an attribute or the text of a node, never markup: names of gateways may hold anything.
// `update` changes only what differs, so that focus, scrolling, selections and what a screen reader is reading stay.

const SVG = "http://www.w3.org/2000/svg";

function made(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) {
      node[name] = value;
    } else if (value !== null && value !== undefined && value !== false) {
      node.setAttribute(name, value === true ? "" : value);
    }
  }
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined && child !== false && child !== "") {
      node.append(child);   // texts become text nodes
    }
  }
  return node;
}

export function el(tag, attributes = {}, ...children) {
  return made(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return made(document.createElementNS(SVG, tag), attributes, children);
}

// Makes the children of `node` those given. Children with the same `data-key`, or of the same kind, are kept.
export function update(node, wanted) {
  const keyed = new Map();
  for (const child of node.children) {
    if (child.dataset && child.dataset.key) {
      keyed.set(child.dataset.key, child);
    }
  }
  let at = node.firstChild;
  for (const child of wanted) {
    const key = child.dataset && child.dataset.key;
    const same = key ? keyed.get(key) : at && !(at.dataset && at.dataset.key) && alike(at, child) ? at : null;
    if (!same || !alike(same, child)) {
      node.insertBefore(child, at);
      continue;
    }
    if (same === at) {
      at = at.nextSibling;
    } else {
      node.insertBefore(same, at);
    }
    adopt(same, child);
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

function alike(one, other) {
  return one.nodeType === other.nodeType && one.nodeName === other.nodeName;
}

function adopt(old, wanted) {
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== wanted.data) {
      old.data = wanted.data;
    }
    return;
  }
  for (const { name } of [...old.attributes]) {
    // What the reader opened stays open.
    if (!wanted.hasAttribute(name) && !(old.nodeName === "DETAILS" && name === "open")) {
      old.removeAttribute(name);
    }
  }
  for (const { name, value } of wanted.attributes) {
    if (old.getAttribute(name) !== value) {
      old.setAttribute(name, value);
    }
  }
  old.onclick = wanted.onclick;
  update(old, [...wanted.childNodes]);
}
