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

// Brings a list's nodes in line with its items: what has the same key stays the same node, so that focus stays too.
export function keep(parent, items, key, build, update) {
  const known = new Map([...parent.children].map((node) => [node.dataset.key, node]));
  items.forEach((item, index) => {
    const name = String(key(item));
    let node = known.get(name);
    known.delete(name);
    if (!node) {
      node = build(item);
      node.dataset.key = name;
    }
    if (parent.children[index] !== node) parent.insertBefore(node, parent.children[index] || null);
    update(node, item);
  });
  known.forEach((node) => node.remove());
}
