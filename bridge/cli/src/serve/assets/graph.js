// The pipeline as a picture: sources, views, sinks, and what each reads.

import { attr, list, s, text } from './dom.js';
import { NONE, compact, count, href, number, position } from './format.js';
import { across, down } from './layout.js';
import { behindText, lagText, mark, setMark, sinkState, sourceState, viewState } from './state.js';

/** Below the first width the picture always goes from top to bottom, below the second where it would have to scroll. */
const [NARROW, MIDDLE] = [620, 900];
const PAD = 12;
const still = matchMedia('(prefers-reduced-motion: reduce)');

const epochText = epoch => (epoch == null ? NONE : `epoch ${number(epoch)}`);

function modelOf(status) {
  const { sources = {}, views = {}, sinks = {} } = status;
  const nodes = [];
  for (const [name, source] of Object.entries(sources)) {
    nodes.push({ key: `source ${name}`, kind: 'source', name, state: sourceState(source), told: [lagText(source), source.type],
      figure: lagText(source), label: position(status.frontier?.[name]) });
  }
  for (const [name, view] of Object.entries(views)) {
    const rows = view.rows == null ? 'rows –' : `${compact(view.rows)} ${view.rows === 1 ? 'row' : 'rows'}`;
    const changed = view.last_changed_rows == null ? null : `${compact(view.last_changed_rows)} changed`;
    nodes.push({ key: `view ${name}`, kind: 'view', name, state: viewState(name, view, status), told: [rows, changed],
      figure: compact(view.rows), label: epochText(view.last_epoch), beat: view.last_epoch });
  }
  for (const [name, sink] of Object.entries(sinks)) {
    nodes.push({ key: `sink ${name}`, kind: 'sink', name, state: sinkState(sink), told: [sink.behind > 0 ? behindText(sink) : null, sink.type],
      figure: sink.behind > 0 ? behindText(sink) : '', label: epochText(sink.epoch), beat: sink.epoch });
  }
  const sourceOf = table => Object.keys(sources).find(name => sources[name].tables?.includes(table))
    ?? Object.keys(sources).find(name => table.startsWith(`${name}.`));
  const edges = new Map();
  const edge = (from, to) => edges.set(`${from}\n${to}`, [from, to]);
  for (const [name, view] of Object.entries(views)) {
    for (const read of view.reads ?? []) {
      if (Object.hasOwn(views, read) && read !== name) edge(`view ${read}`, `view ${name}`);
      else if (sourceOf(read)) edge(`source ${sourceOf(read)}`, `view ${name}`);
    }
  }
  for (const [name, sink] of Object.entries(sinks)) {
    for (const view of sink.views ?? []) if (Object.hasOwn(views, view)) edge(`view ${view}`, `sink ${name}`);
  }
  return { nodes, edges: [...edges.values()] };
}

const measure = document.createElement('canvas').getContext('2d');

/** The text, or its start and end, as wide as there is room. */
export function fit(value, room, size, bold = false) {
  measure.font = `${bold ? 600 : 400} ${size}px ${getComputedStyle(document.body).fontFamily}`;
  if (measure.measureText(value).width <= room) return value;
  const letters = Array.from(value);
  let [least, most] = [1, letters.length];
  const cut = kept => `${letters.slice(0, Math.ceil(kept / 2)).join('')}…${kept > 1 ? letters.slice(-Math.floor(kept / 2)).join('') : ''}`;
  while (least < most) {
    const kept = Math.ceil((least + most) / 2);
    if (measure.measureText(cut(kept)).width <= room) least = kept;
    else most = kept - 1;
  }
  return cut(least);
}

/** The first of the texts that there is room for; else what there is room for of the last. */
function choose(texts, room, size) {
  return texts.find(value => fit(value, room, size) === value) ?? fit(texts.at(-1) ?? '', room, size);
}

/** Everything before and after a node. */
function kin(edges, key) {
  const found = new Set();
  const follow = (at, side) => edges.forEach(edge => {
    if (edge[side] !== at || found.has(edge)) return;
    found.add(edge);
    follow(edge[1 - side], side);
  });
  follow(key, 0);
  follow(key, 1);
  return found;
}

export function pipelineGraph(box) {
  const svg = s('svg', { class: 'pipeline', role: 'group' });
  const [lines, boxes] = [s('g'), s('g')];
  svg.append(lines, boxes);
  box.append(svg);
  let [shape, model, parts, edges, flat, upright, label] = ['', null, new Map(), [], false, false, 0];

  const light = key => {
    const lit = key ? kin(model.edges, key) : new Set();
    const ends = new Set([key, ...[...lit].flat()]);
    svg.classList.toggle('choosing', Boolean(key));
    edges.forEach((path, at) => path.classList.toggle('lit', lit.has(model.edges[at])));
    parts.forEach((part, at) => part.node.classList.toggle('lit', ends.has(at)));
  };

  function make(node) {
    const part = { frame: s('rect', { rx: 6, class: 'frame' }), mark: mark(), name: s('text', { class: 'name' }), told: s('text', { class: 'told' }),
      word: s('text', { class: 'word', 'text-anchor': 'end' }), label: s('text', { class: 'label' }), title: s('title') };
    const place = s('g', {}, part.mark);
    const link = node.kind === 'view' ? s('a', { href: href(node.name) }) : s('g', { tabindex: 0, role: 'img' });
    link.append(part.title, part.frame, place, part.name, part.told, part.word, part.label);
    Object.assign(part, { node: link, place });
    for (const event of ['pointerenter', 'focus']) link.addEventListener(event, () => light(node.key));
    for (const event of ['pointerleave', 'blur']) link.addEventListener(event, () => light(null));
    link.own = part;
    return link;
  }

  function build(room) {
    flat = model.nodes.length > 16;
    const [inner, gap] = [room - 2 * PAD, flat ? 7 : 14];
    const wide = across(model, inner, flat ? 26 : 48, gap);
    upright = room < NARROW || (room < MIDDLE && wide.width > inner);
    const height = !flat ? 48 : upright ? 30 : 26;
    const plan = upright ? down(model, inner, height, gap) : wide;
    label = plan.label;
    const [width, tall] = [plan.width + 2 * PAD, plan.height + 2 * PAD];
    const first = !shape;
    attr(svg, { width, height: tall, viewBox: `${-PAD} ${-PAD} ${width} ${tall}` });
    edges = plan.paths.map(d => s('path', { class: 'edge', d }));
    lines.replaceChildren(...edges);
    list(boxes, model.nodes, node => node.key, make, (link, node) => {
      const { x, y, width: wide } = plan.places.get(node.key);
      const { frame, place, name, told, word, label: at } = link.own;
      attr(link, { transform: `translate(${x} ${y})`, class: `node ${node.kind}` });
      attr(frame, { width: wide, height });
      attr(place, { transform: `translate(15 ${flat ? height / 2 : 17})` });
      attr(name, { x: 27, y: flat ? height / 2 + 4.5 : 21 });
      attr(told, { x: 27, y: 39 });
      attr(word, { x: wide - 9, y: flat ? height / 2 + 4.5 : 39 });
      attr(at, { x: node.kind === 'sink' ? -8 : wide + 8, y: height / 2 - 6, 'text-anchor': node.kind === 'sink' ? 'end' : 'start' });
      link.own.wide = wide;
      parts.set(node.key, link.own);
    });
    if (first) box.scrollTop = (tall - box.clientHeight) / 2;
    for (const key of parts.keys()) if (!model.nodes.some(node => node.key === key)) parts.delete(key);
  }

  function paint(node) {
    const part = parts.get(node.key);
    const { wide } = part;
    const feeds = model.edges.some(([from, to]) => from === node.key && (node.kind === 'source' || (!flat && to.startsWith('view'))));
    const reached = node.kind === 'sink' && model.edges.some(([, to]) => to === node.key);
    const plain = node.state === 'ok' || (node.state === 'behind' && (flat || node.kind === 'sink'));
    const word = !plain ? node.state : flat ? node.figure : '';
    const details = [upright && node.kind !== 'view' && node.label !== NONE ? node.label : null, ...node.told].filter(Boolean);
    setMark(part.mark, node.state);
    part.node.dataset.state = node.state;
    text(part.name, fit(node.name, wide - 35 - (flat ? word.length * 7 + 8 : 0), 13, true));
    const fewer = details.map((_, at) => details.slice(0, details.length - at).join(' · '));
    text(part.told, flat ? '' : choose([...fewer, ''], wide - 40 - word.length * 8, 11.5));
    text(part.word, word);
    const labelled = !upright && node.label !== NONE && (feeds || reached);
    text(part.label, labelled ? choose([node.label, node.label.replace(/^\w+ /, '')], label, 11) : '');
    const all = `${node.kind} ${node.name}: ${node.state}, ${node.told.filter(Boolean).join(', ')}, ${node.label}`;
    text(part.title, all);
    attr(part.node, { 'aria-label': all });
    if (part.beat !== undefined && part.beat !== node.beat && !still.matches) {
      const stroke = getComputedStyle(svg).getPropertyValue('--accent');
      const into = edges.filter((_, at) => model.edges[at][1] === node.key);
      for (const moved of [part.frame, ...into]) moved.animate([{ stroke, offset: 0 }], 900);
    }
    part.beat = node.beat;
  }

  const draw = () => {
    if (!model?.nodes.length || !box.clientWidth) return;
    const wanted = JSON.stringify([box.clientWidth, model.nodes.map(node => node.key), model.edges]);
    if (wanted !== shape) build(box.clientWidth);
    shape = wanted;
    model.nodes.forEach(paint);
  };
  new ResizeObserver(draw).observe(box);
  return {
    update(status) {
      model = modelOf(status);
      const of = kind => model.nodes.filter(node => node.kind === kind).length;
      attr(svg, { 'aria-label': [count(of('source'), 'source'), count(of('view'), 'view'), count(of('sink'), 'sink')].join(', ') });
      box.hidden = !model.nodes.length;
      draw();
    },
  };
}

