// What the page is built of: nodes, and lists of them. What comes from the gateway is only ever set as text.
export const at = (id) => document.getElementById(id);
export const say = (node, text) => { if (node.textContent !== String(text)) node.textContent = text; };
export const mark = (node, is) => { if (node.dataset.is !== is) node.dataset.is = is; };

export function make(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

// Brings a list's nodes in line with its items: what has the same key stays the same node, so that focus stays too. Items may
// have one key, such as two calls with the id that their caller gave them: each has a node. Nothing else stays in the list.
export function keep(parent, items, key, build, update) {
  const spare = new Set(parent.children);
  const known = new Map([...spare].map((node) => [node.dataset.key, node]));
  const names = new Set();
  const nodes = items.map((item) => {
    let name = String(key(item));
    while (names.has(name)) name += " again";
    names.add(name);
    const node = known.get(name) || build(item);
    node.dataset.key = name;
    spare.delete(node);
    return node;
  });
  // Before the others are put in order: a node that is moved loses focus.
  spare.forEach((node) => node.remove());
  nodes.forEach((node, index) => {
    if (parent.children[index] !== node) parent.insertBefore(node, parent.children[index] || null);
    update(node, items[index]);
  });
}
