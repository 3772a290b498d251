// From which columns each column of a view is computed: inputs on the left, the view on the right.

import { attr, h, s } from './dom.js';
import { fit } from './graph.js';

const [ROW, HEAD, GAP, PAD] = [24, 26, 12, 12];

/** The table and the column of an origin; both may have dots in their names. */
function split(origin, reads) {
  const fitting = reads.filter(read => origin.startsWith(`${read}.`)).sort((one, other) => other.length - one.length);
  const table = fitting[0] ?? origin.slice(0, Math.max(0, origin.lastIndexOf('.')));
  return [table, origin.slice(table.length ? table.length + 1 : 0)];
}

function inputs(view) {
  const tables = new Map();
  for (const origin of (view.columns ?? []).flatMap(column => column.from ?? [])) {
    const [table, column] = split(origin, view.reads ?? []);
    if (!tables.has(table)) tables.set(table, new Map());
    tables.get(table).set(origin, column);
  }
  return tables;
}

/** Draws it into the box anew, now and when the box gets another width. */
export function lineage(box, view) {
  box.watch?.disconnect();
  const columns = view.columns ?? [];
  if (!columns.length) {
    box.replaceChildren(h('p', { class: 'empty' }, 'No columns are known.'));
    return;
  }
  const draw = () => {
    const room = box.clientWidth - 2 * PAD;
    if (room <= 0 || room === box.drawn) return;
    box.drawn = room;
    const wide = Math.min(400, Math.max(120, room * 0.41));
    const right = Math.min(room, 1120) - wide;
    const about = `The ${columns.length} columns of ${view.view} and what they are computed from`;
    const svg = s('svg', { class: 'lineage', role: 'group', 'aria-label': about });
    const [lines, texts] = [s('g'), s('g')];
    const [nodes, links] = [new Map(), []];
    const heading = (name, x, y) => texts.append(s('text', { class: 'table', x, y: y + 17 }, s('title', {}, name), fit(name, wide, 12, true)));
    const column = (key, name, of, x, y, told) => {
      const type = wide < 180 ? null : of;
      const shown = fit(name, wide - 24 - (type ? Math.min(90, wide * 0.4) : 0), 12.5);
      const node = s('g', { class: 'column', tabindex: 0, role: 'img', 'aria-label': told, transform: `translate(${x} ${y})` }, s('title', {}, told),
        s('rect', { width: wide, height: ROW - 2, rx: 4 }), s('text', { x: 10, y: 15.5 }, shown));
      if (type) node.append(s('text', { class: 'type', x: wide - 10, y: 15.5, 'text-anchor': 'end' }, fit(type, Math.min(90, wide * 0.4), 11)));
      nodes.set(key, { node, y: y + ROW / 2 - 1 });
      texts.append(node);
    };
    const users = origin => columns.filter(({ from }) => from?.includes(origin)).map(({ name }) => name);
    let y = 0;
    for (const [table, members] of inputs(view)) {
      heading(table, 0, y);
      y += HEAD;
      for (const [origin, name] of members) {
        column(`from ${origin}`, name, null, 0, y, `${origin}, read for ${users(origin).join(', ')}`);
        y += ROW;
      }
      y += GAP;
    }
    const left = Math.max(0, y - GAP);
    const own = HEAD + columns.length * ROW;
    y = Math.max(0, (left - own) / 2);
    heading(view.view, right, y);
    columns.forEach(({ name, type, from }, at) => {
      const top = y + HEAD + at * ROW;
      column(`to ${at}`, name, type, right, top, `${name} ${type ?? ''}, computed from ${from?.length ? from.join(', ') : 'no column'}`);
      for (const origin of from ?? []) links.push([`from ${origin}`, `to ${at}`]);
    });
    const paths = links.map(([from, to]) => {
      const [y0, y1, middle] = [nodes.get(from).y, nodes.get(to).y, (wide + right) / 2];
      return s('path', { class: 'edge', d: `M${wide} ${y0}C${middle} ${y0} ${middle} ${y1} ${right} ${y1}` });
    });
    lines.append(...paths);
    const light = key => {
      svg.classList.toggle('choosing', key !== null);
      const lit = new Set([key]);
      links.forEach((link, at) => {
        const on = link.includes(key);
        paths[at].classList.toggle('lit', on);
        if (on) link.forEach(end => lit.add(end));
      });
      nodes.forEach(({ node }, at) => node.classList.toggle('lit', lit.has(at)));
    };
    for (const [key, { node }] of nodes) {
      for (const event of ['pointerenter', 'focus']) node.addEventListener(event, () => light(key));
      for (const event of ['pointerleave', 'blur']) node.addEventListener(event, () => light(null));
    }
    const [width, height] = [Math.max(right + wide, 0) + 2 * PAD, Math.max(left, y + own) + 2 * PAD];
    attr(svg, { width, height, viewBox: `${-PAD} ${-PAD} ${width} ${height}` });
    svg.append(lines, texts);
    box.replaceChildren(svg);
  };
  box.drawn = null;
  box.watch = new ResizeObserver(draw);
  box.watch.observe(box);
  draw();
}
