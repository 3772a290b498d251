// Where the nodes and edges of the pipeline's picture go. A model has `nodes` (key, kind) and `edges` ([from, to]).

/** Views one rank after what they read; sources first, sinks last. */
function ranksOf({ nodes, edges }) {
  const into = new Map(nodes.map(node => [node.key, edges.filter(edge => edge[1] === node.key)]));
  const ranks = new Map();
  const rank = key => {
    if (!ranks.has(key)) {
      ranks.set(key, key.startsWith('source') ? 0 : 1);
      ranks.set(key, into.get(key).reduce((most, [from]) => Math.max(most, rank(from) + 1), ranks.get(key)));
    }
    return ranks.get(key);
  };
  nodes.forEach(node => rank(node.key));
  const last = Math.max(1, ...nodes.filter(node => node.kind !== 'sink').map(node => ranks.get(node.key))) + 1;
  nodes.filter(node => node.kind === 'sink').forEach(node => ranks.set(node.key, last));
  return ranks;
}

/** Cells by rank, with a small one where an edge passes a rank; edges of one origin, or to one sink, pass together. */
function cellsOf(model, ranks, height) {
  const columns = Array.from({ length: Math.max(...ranks.values()) + 1 }, () => []);
  const cells = new Map();
  const cell = (key, rank, size) => {
    if (!cells.has(key)) {
      cells.set(key, { key, rank, size, y: 0, near: [new Set(), new Set()] });
      columns[rank].push(cells.get(key));
    }
    return cells.get(key);
  };
  model.nodes.forEach(node => cell(node.key, ranks.get(node.key), height));
  const routes = model.edges.map(([from, to]) => {
    const route = [cells.get(from)];
    const bundle = to.startsWith('sink') ? to : from;
    for (let rank = ranks.get(from) + 1; rank < ranks.get(to); rank += 1) route.push(cell(`${bundle}@${rank}`, rank, 4));
    route.push(cells.get(to));
    for (let at = 1; at < route.length; at += 1) {
      route[at - 1].near[1].add(route[at]);
      route[at].near[0].add(route[at - 1]);
    }
    return route;
  });
  return { columns, routes };
}

const mean = values => values.reduce((sum, value) => sum + value, 0) / values.length;

/** Orders each column by where its neighbours are, and moves the cells towards them without overlaps; tall columns stay whole. */
function arrange(columns, gap) {
  const tall = column => column.reduce((sum, cell) => sum + cell.size + gap, -gap);
  const tallest = Math.max(...columns.map(tall));
  const stack = column => column.reduce((y, cell) => {
    cell.y = y + cell.size / 2;
    return y + cell.size + gap;
  }, (tallest - tall(column)) / 2);
  columns.forEach(stack);
  const wish = (cell, sides) => {
    const near = sides.flatMap(side => [...cell.near[side]]);
    return near.length ? mean(near.map(other => other.y)) : cell.y;
  };
  for (const sides of [[0], [1], [0], [1], [0], [1], [0, 1], [0, 1]]) {
    for (const column of sides[0] ? [...columns].reverse() : columns) {
      if (!column.length) continue;
      const wishes = new Map(column.map(cell => [cell, wish(cell, sides)]));
      column.sort((one, other) => wishes.get(one) - wishes.get(other));
      if (tall(column) > tallest * 0.6) {
        stack(column);
        continue;
      }
      let y = -Infinity;
      for (const cell of column) {
        cell.y = Math.max(wishes.get(cell), y + cell.size / 2);
        y = cell.y + cell.size / 2 + gap;
      }
      const best = mean(column.map(cell => wishes.get(cell) - cell.y));
      const [above, below] = [column[0].y - column[0].size / 2, y - gap];
      const shift = Math.max(-above, Math.min(best, tallest - below));
      column.forEach(cell => { cell.y += shift; });
    }
  }
  const top = Math.min(...columns.flat().map(cell => cell.y - cell.size / 2));
  columns.flat().forEach(cell => { cell.y -= top; });
  return Math.max(...columns.flat().map(cell => cell.y + cell.size / 2));
}

/** From left to right: sources, views in their ranks, sinks. */
export function across(model, room, height, gapDown) {
  const { columns, routes } = cellsOf(model, ranksOf(model), height);
  const tall = arrange(columns, gapDown);
  const many = columns.length;
  const width = Math.min(250, Math.max(156, (room - (many - 1) * 100) / many));
  const gap = Math.min(240, Math.max(100, (room - many * width) / (many - 1)));
  const left = rank => rank * (width + gap);
  const places = new Map(columns.flat().map(cell => [cell.key, { x: left(cell.rank), y: cell.y - cell.size / 2, width, height }]));
  const paths = routes.map(route => route.slice(1).reduce((path, cell, at) => {
    const [x0, x1, y0, y1] = [left(route[at].rank) + width, left(cell.rank), route[at].y, cell.y];
    const middle = (x0 + x1) / 2;
    const curve = `${path}C${middle} ${y0} ${middle} ${y1} ${x1} ${y1}`;
    return at + 2 < route.length ? `${curve}H${x1 + width}` : curve;
  }, `M${left(route[0].rank) + width} ${route[0].y}`));
  return { places, paths, width: many * width + (many - 1) * gap, height: tall, label: gap - 16 };
}

/** From top to bottom in one column, the edges in lanes: on the left those of what is read, on the right those to sinks. */
export function down(model, room, height, gap) {
  const ranks = ranksOf(model);
  const order = [...model.nodes].sort((one, other) => ranks.get(one.key) - ranks.get(other.key));
  const row = new Map(order.map((node, at) => [node.key, at]));
  const lanes = side => {
    const spans = new Map();
    for (const [from, to] of model.edges.filter(edge => edge[1].startsWith('sink') === side)) {
      const [key, a, b] = [side ? to : from, row.get(from), row.get(to)];
      const span = spans.get(key) ?? { key, from: a, to: b };
      spans.set(key, { key, from: Math.min(span.from, a), to: Math.max(span.to, b) });
    }
    const ends = [];
    const lane = new Map();
    for (const span of [...spans.values()].sort((one, other) => one.to - one.from - (other.to - other.from))) {
      const free = ends.findIndex(taken => taken.every(other => other.to <= span.from || other.from >= span.to));
      const at = free < 0 ? ends.push([]) - 1 : free;
      ends[at].push(span);
      lane.set(span.key, at % 6);
    }
    return { lane, width: ends.length ? 14 + 9 * Math.min(ends.length, 6) : 0 };
  };
  const [left, right] = [lanes(false), lanes(true)];
  const width = room - left.width - right.width;
  const places = new Map(order.map((node, at) => [node.key, { x: left.width, y: at * (height + gap), width, height }]));
  const paths = model.edges.map(([from, to]) => {
    const sink = to.startsWith('sink');
    const out = sink ? 1 : -1;
    const edge = left.width + (sink ? width : 0);
    const x = edge + out * (12 + 9 * (sink ? right.lane.get(to) : left.lane.get(from)));
    const [y0, y1] = [places.get(from).y + height * 0.65, places.get(to).y + height * 0.35];
    return `M${edge} ${y0}H${x - out * 8}Q${x} ${y0} ${x} ${y0 + 8}V${y1 - 8}Q${x} ${y1} ${x - out * 8} ${y1}H${edge}`;
  });
  return { places, paths, width: room, height: order.length * (height + gap) - gap, label: 0 };
}
