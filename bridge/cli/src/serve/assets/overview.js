// The overview: rates, the pipeline's picture, and its sources, epochs, views, sinks and errors.

import { epochChart } from './chart.js';
import { $, attr, h, list, text } from './dom.js';
import { NONE, between, bytes, count, duration, href, number, position, rate, time } from './format.js';
import { pipelineGraph } from './graph.js';
import { badge, sinkState, sourceState } from './state.js';

// The columns of each table after the name: heading, kind, and what is shown of an entry.
const TABLES = {
  sources: [
    ['State', 'state', sourceState],
    ['Type', 'plain', source => source.type],
    ['Position', 'plain', source => position(source.position)],
    ['Lag, snapshots', 'num', source => number(source.lag?.snapshots)],
    ['Lag, bytes', 'num', source => bytes(source.lag?.bytes)],
    ['Lag, time', 'num', source => duration(source.lag?.ms)],
    ['Read up to', 'time', source => source.committed_at],
    ['Readable from', 'plain', source => position(source.oldest) + (source.kept_ms == null ? '' : ` (${duration(source.kept_ms)} back)`)],
    ['Tables', 'names', source => source.tables],
  ],
  views: [
    ['Rows', 'num', view => number(view.rows)],
    ['Changed last', 'num', view => number(view.last_changed_rows)],
    ['In epoch', 'num', view => number(view.last_epoch)],
    ['Incremental steps', 'num', view => number(view.incremental_steps)],
    ['Full steps', 'num', view => number(view.full_steps)],
    ['State', 'num', view => bytes(view.state_bytes)],
    ['Maintained', 'plain', view => view.mode],
    ['Key', 'names', view => view.key],
    ['History', 'plain', view => (view.temporal == null ? null : view.temporal ? 'kept' : 'not kept')],
  ],
  sinks: [
    ['State', 'state', sinkState],
    ['Type', 'plain', sink => sink.type],
    ['Epoch', 'num', sink => number(sink.epoch)],
    ['Behind, epochs', 'num', sink => number(sink.behind)],
    ['Kept for it', 'num', sink => bytes(sink.behind_bytes)],
    ['Commits next', 'time', sink => sink.next_commit],
    ['Views', 'names', sink => sink.views],
  ],
};

/** A list of names that may be long: the first few, all of them in the title. */
function names(node, all) {
  const shown = (all ?? []).slice(0, 4).join(', ');
  text(node, !all?.length ? NONE : all.length > 4 ? `${shown} and ${number(all.length - 4)} more` : shown);
  attr(node, { title: all?.length > 1 ? all.join('\n') : null });
}

function table(id, heading) {
  const columns = TABLES[id];
  const body = h('tbody');
  const styled = kind => (kind === 'num' || kind === 'names' ? kind : null);
  const head = ([label, kind]) => h('th', { scope: 'col', class: styled(kind) }, label);
  $(id).append(h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, heading), ...columns.map(head))), body);
  const make = ([name]) => {
    const marks = columns.map(([, kind]) => (kind === 'state' ? badge() : kind === 'time' ? h('time') : h('span')));
    const cells = columns.map(([label, kind], at) => h('td', { class: styled(kind), 'data-label': label }, marks[at].node ?? marks[at]));
    const shown = id === 'views' ? h('a', { class: 'name', href: href(name) }, name) : h('span', { class: 'name' }, name);
    return Object.assign(h('tr', {}, h('th', { scope: 'row' }, shown), ...cells), { marks });
  };
  return (entries, now) => {
    list(body, Object.entries(entries ?? {}), ([name]) => name, make, ({ marks }, [, entry]) => columns.forEach(([, kind, of], at) => {
      const value = of(entry);
      if (kind === 'state') marks[at].update(value);
      else if (kind === 'time') time(marks[at], value, now);
      else if (kind === 'names') names(marks[at], value);
      else text(marks[at], value ?? NONE);
    }));
    $(id).hidden = !body.childElementCount;
    $(id).nextElementSibling.hidden = !$(id).hidden;
  };
}

/** An item of a list of what went wrong: what, when, how it stands, the message, and what to do. */
export function incident() {
  const parts = { what: h('b'), stands: badge(), when: h('time'), message: h('p', { class: 'message' }) };
  const node = h('li', {}, h('p', { class: 'what' }, parts.what, parts.stands.node, parts.when), parts.message);
  return Object.assign(node, {
    tell({ what, message }) {
      text(parts.what, what ?? NONE);
      text(parts.message, message ?? 'No message came with it.');
      return parts;
    },
  });
}

function errors({ errors: all, now }) {
  list($('errors'), all ?? [], error => `${error.at} ${error.what} ${error.message}`, incident, (node, error) => {
    const { stands, when } = node.tell(error);
    node.className = error.resolved_at ? 'resolved' : 'open';
    const lasted = between(error.at, error.resolved_at);
    if (error.resolved_at) stands.update('ok', `resolved after ${duration(lasted)}`);
    else stands.update('failing', 'not resolved');
    time(when, error.at, now);
  });
  $('errors-none').hidden = Boolean(all?.length);
}

export function overview() {
  const graph = pipelineGraph($('graph'));
  const chart = epochChart($('chart'));
  const tables = { sources: table('sources', 'Source'), views: table('views', 'View'), sinks: table('sinks', 'Sink') };
  let [answered, charted] = [false, false];
  return {
    update(status) {
      const { rates, totals, now } = status;
      text($('rate-in'), rate(rates?.source_rows_per_s));
      text($('rate-out'), rate(rates?.view_rows_per_s));
      text($('rate-epochs'), rate(rates?.epochs_per_s));
      text($('total-in'), number(totals?.source_rows));
      text($('total-out'), number(totals?.view_rows));
      attr($('total-in').parentElement, { title: count(totals?.epochs, 'epoch') });
      $('chart-none').hidden = charted || !answered;
      text($('chart-none'), status.phase?.name === 'loading' ? 'No epoch yet: the first load is under way.' : 'No epoch yet.');
      graph.update(status);
      $('graph-none').hidden = !$('graph').hidden;
      for (const [id, update] of Object.entries(tables)) update(status[id], now);
      errors(status);
    },
    epochs(answer) {
      [answered, charted] = [true, Boolean(answer.epochs?.length)];
      chart.update(answer);
    },
  };
}
