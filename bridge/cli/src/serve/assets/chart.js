// Durations of the last epochs, by phase, as stacked bars.

import { attr, h, list, s, text } from './dom.js';
import { NONE, clock, coarse, count, duration, number } from './format.js';

const PHASES = ['read', 'log', 'step', 'commit', 'checkpoint'];
const [HEIGHT, LEFT, TOP, BOTTOM] = [170, 58, 8, 22];

const phase = (epoch, name) => Math.max(0, epoch.phases_ms?.[name] ?? 0);
const total = epoch => PHASES.reduce((sum, name) => sum + phase(epoch, name), 0);

function quantile(values, part) {
  const sorted = [...values].sort((one, other) => one - other);
  return sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))] ?? 0;
}

/** The next of 1, 2, 5, 10, … */
function round(value) {
  const power = 10 ** Math.floor(Math.log10(value || 1));
  return power * [1, 2, 5, 10].find(step => step * power >= value);
}

function told(epoch) {
  const parts = PHASES.map(name => `${name} ${duration(epoch.phases_ms?.[name])}`);
  const rows = Object.entries(epoch.view_rows ?? {}).filter(([, changed]) => changed > 0);
  const views = rows.slice(0, 8).map(([name, changed]) => `${name}: ${count(changed, 'row')}`);
  if (rows.length > 8) views.push(`and ${rows.length - 8} more views`);
  const first = `epoch ${number(epoch.epoch)}, ${clock(epoch.time)}: ${duration(total(epoch))}`;
  return [first, ...parts, `${count(epoch.source_rows, 'source row')} read`, ...views].join('\n');
}

export function epochChart(box) {
  const svg = s('svg', { role: 'img', height: HEIGHT });
  const [grid, bars] = [s('g', { class: 'grid' }), s('g')];
  svg.append(grid, bars);
  const legend = h('ul', { class: 'legend' });
  const medians = PHASES.map(name => {
    const median = h('b');
    legend.append(h('li', {}, h('i', { class: `swatch ${name}` }), ` ${name} `, median));
    return median;
  });
  const summary = h('p', { class: 'hint' });
  for (const part of [legend, svg, summary]) part.toggleAttribute('hidden', true);
  box.append(legend, svg, summary);
  let [epochs, drawn] = [[], ''];

  function make() {
    const title = s('title');
    const rects = ['slot', ...PHASES].map(name => s('rect', { class: name }));
    const bar = s('g', { class: 'bar' }, title, ...rects, s('path', { class: 'over' }));
    bar.title = title;
    return bar;
  }

  function draw() {
    const width = box.clientWidth - 24;
    const state = JSON.stringify([width, epochs.length, epochs[0]?.epoch, epochs.at(-1)]);
    if (!epochs.length || width <= 0 || state === drawn) return;
    drawn = state;
    const totals = epochs.map(total);
    const most = Math.max(...totals);
    // A few epochs that take very long would flatten all others: they are cut off, and said to be.
    const usual = quantile(totals, 0.95) * 1.3;
    const top = round(most > 3 * usual && usual > 0 ? usual : most);
    const plain = HEIGHT - TOP - BOTTOM;
    const y = value => TOP + plain * (1 - Math.min(value, top) / top);
    const slot = (width - LEFT) / Math.max(40, epochs.length);
    attr(svg, { width, viewBox: `0 0 ${width} ${HEIGHT}` });
    const label = (x, at, anchor, shown) => s('text', { x, y: at, 'text-anchor': anchor }, shown);
    const line = value => [s('path', { d: `M${LEFT} ${y(value)}H${width}` }), label(LEFT - 8, y(value) + 4, 'end', coarse(value))];
    const foot = (epoch, x, anchor) => label(x, HEIGHT - 6, anchor, `epoch ${number(epoch.epoch)}`);
    const end = LEFT + slot * epochs.length;
    const last = end > LEFT + 160 ? [foot(epochs.at(-1), end, 'end')] : [];
    grid.replaceChildren(...[0, top / 2, top].flatMap(line), foot(epochs[0], LEFT, 'start'), ...last);
    list(bars, epochs, (_, at) => at, make, (bar, epoch, at) => {
      const [x, wide] = [LEFT + at * slot, Math.max(1, slot - Math.min(2, slot / 4))];
      const [hit, ...rects] = bar.querySelectorAll('rect');
      attr(hit, { x, y: TOP, width: slot, height: plain });
      let sum = 0;
      PHASES.forEach((name, index) => {
        const from = y(sum);
        sum += phase(epoch, name);
        attr(rects[index], { x, y: y(sum), width: wide, height: Math.max(0, from - y(sum)) });
      });
      const middle = x + wide / 2;
      attr(bar.lastChild, { d: totals[at] > top ? `M${middle} 0l4 7h-8z` : 'M0 0' });
      text(bar.title, told(epoch));
    });
    const slowest = epochs[totals.indexOf(most)];
    const [all, cut] = [totals.reduce((sum, value) => sum + value, 0), totals.filter(value => value > top).length];
    const shares = PHASES.map(name => epochs.reduce((sum, epoch) => sum + phase(epoch, name), 0));
    const greatest = shares.indexOf(Math.max(...shares));
    PHASES.forEach((name, at) => text(medians[at], duration(quantile(epochs.map(epoch => phase(epoch, name)), 0.5))));
    text(summary, `The last ${count(epochs.length, 'epoch')}: median ${duration(quantile(totals, 0.5))}, `
      + `slowest ${duration(most)} (epoch ${number(slowest.epoch)}). `
      + `Most time goes into ${PHASES[greatest]}: ${all ? Math.round((shares[greatest] / all) * 100) : NONE} %. The legend shows medians.`
      + (cut ? ` ${cut === 1 ? 'One bar is' : `${cut} bars are`} cut off at ${duration(top)} (▲).` : ''));
    attr(svg, { 'aria-label': `Durations of epochs by phase. ${summary.textContent}` });
  }

  new ResizeObserver(draw).observe(box);
  return {
    update(answer) {
      epochs = (answer.epochs ?? []).slice(-120);
      for (const part of [legend, svg, summary]) part.toggleAttribute('hidden', !epochs.length);
      draw();
    },
  };
}
