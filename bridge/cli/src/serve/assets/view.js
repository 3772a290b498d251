// The page of a view: its SQL, how it is maintained, its plan and lineage, and its rows and changes.

import { request, viewPath } from './api.js';
import { $, clear, h, list, text } from './dom.js';
import { NONE, bytes, duration, href, number } from './format.js';
import { lineage } from './lineage.js';
import { rowsAndChanges } from './rows.js';

const COSTS = {
  change: 'the change', groups: 'the touched groups', partitions: 'the touched partitions',
  compared: 'what is compared with a value, when the value changes', 'other side': 'the other side of a join', 'all rows': 'all rows',
};
const cost = code => COSTS[code] ?? code ?? NONE;

const WORDS = new Set(`all and anti any array as asc asof between by case cast columns cross cube date desc describe distinct else end except exclude exists
false fetch filter first following from full group grouping having ilike in inner intersect interval into is join last lateral left like limit
map materialized natural not null nulls of offset on or order ordinality outer over partition pivot positional preceding qualify range
recursive replace right rollup row rows select semi sets similar some struct symmetric tablesample then timestamp true try_cast unbounded
union unnest unpivot using values when where window with within`.split(/\s+/));
const TOKENS = /(--[^\n]*|\/\*[\s\S]*?\*\/)|('(?:[^']|'')*'|\$\$[\s\S]*?\$\$)|("(?:[^"]|"")*")|(\b\d[\d_]*(?:\.\d+)?(?:e[+-]?\d+)?\b)|([\p{L}_][\p{L}\p{N}_]*)/giu;

function highlight(sql) {
  const parts = [];
  let at = 0;
  for (const found of sql.matchAll(TOKENS)) {
    const [, comment, string, quoted, digits, name] = found;
    const plain = quoted || (name && !WORDS.has(name.toLowerCase()));
    const kind = comment ? 'comment' : string ? 'string' : plain ? null : digits ? 'digits' : 'word';
    if (!kind) continue;
    parts.push(sql.slice(at, found.index), h('span', { class: kind }, found[0]));
    at = found.index + found[0].length;
  }
  return [...parts, sql.slice(at)];
}

function identity(of) {
  if (!of?.key) return { whole_row: 'the whole row', rowid: 'rowid' }[of] ?? NONE;
  return of.key.length ? `key (${of.key.join(', ')})` : 'at most one row';
}

function history(kept) {
  if (!kept) return 'not kept';
  const long = kept.retention_ms == null ? 'for ever' : `for ${duration(kept.retention_ms)}`;
  return `kept ${long}${kept.sinks?.length ? `, in ${kept.sinks.join(', ')}` : ''}`;
}

function plan(node) {
  const keeps = node.state === 'none' ? 'nothing' : node.state;
  const facts = [['rows told apart by', node.row_identity], ['follows a change', node.strategy], ['keeps', keeps], ['an epoch costs', cost(node.cost)]];
  const told = [keeps && keeps !== 'nothing' ? `keeps ${keeps}` : null, node.cost && node.cost !== 'change' ? `costs ${cost(node.cost)}` : null];
  const item = h('li', {}, h('details', {},
    h('summary', {}, h('b', {}, node.operator ?? NONE), ' ', h('code', {}, node.detail ?? ''), h('small', {}, told.filter(Boolean).join(' · '))),
    h('dl', {}, ...facts.map(([name, fact]) => h('div', {}, h('dt', {}, name), h('dd', {}, fact ?? NONE))))));
  if (node.inputs?.length) item.append(h('ul', {}, ...node.inputs.map(plan)));
  return item;
}

/** Names with links for those that are views. */
function linked(names, views) {
  if (!names.length) return [NONE];
  const link = name => (Object.hasOwn(views, name) ? h('a', { href: href(name) }, name) : h('span', { class: 'name' }, name));
  return names.flatMap((name, at) => [at ? ', ' : null, link(name)]);
}

export function viewPage() {
  const rows = rowsAndChanges();
  let [name, known, loading, status, started] = [null, null, null, null, null];
  let definedBy = null;

  function fault(message) {
    text($('view-fault'), message ?? '');
    $('view-fault').hidden = !message;
  }

  function facts() {
    const views = status?.views ?? {};
    const readers = Object.keys(views).filter(other => views[other].reads?.includes(name));
    const sinks = Object.keys(status?.sinks ?? {}).filter(sink => status.sinks[sink].views?.includes(name));
    const all = [
      ['Mode', [known.mode ?? NONE]],
      ['Rows told apart by', [identity(known.row_identity)]],
      ['An epoch costs', [cost(known.cost)]],
      ['Reads', linked(known.reads ?? [], views)],
      ['Read by', linked(readers, views)],
      ['Sinks', linked(sinks, {})],
      ['History', [history(known.history)]],
    ];
    $('view-facts').replaceChildren(...all.map(([what, told]) => h('div', {}, h('dt', {}, what), h('dd', {}, ...told))));
  }

  function define(definition) {
    [known, definedBy] = [definition, started];
    $('view-body').hidden = false;
    fault(null);
    $('view-sql').replaceChildren(...highlight(known.sql ?? NONE));
    text($('view-place'), known.place ? `in ${known.place}` : '');
    facts();
    list($('view-notes'), known.notes ?? [], (_, at) => at, () => h('li'), (node, note) => text(node, note));
    $('plan').replaceChildren(known.plan ? h('ul', {}, plan(known.plan)) : h('p', { class: 'empty' }, 'No plan is known.'));
    lineage($('lineage'), known);
    rows.show(name, Boolean(known.history));
  }

  async function load() {
    loading?.abort();
    const mine = loading = new AbortController();
    try {
      const definition = await request(viewPath(name), { signal: mine.signal });
      if (mine === loading) define(definition);
    } catch (error) {
      if (mine === loading && !mine.signal.aborted) fault(error.message);
    }
    if (mine === loading) loading = null;
  }

  const details = () => [...$('plan').querySelectorAll('details')];
  $('plan-all').addEventListener('click', () => {
    const open = details().some(node => !node.open);
    details().forEach(node => { node.open = open; });
    text($('plan-all'), open ? 'Hide all details' : 'Show all details');
  });

  return {
    get name() { return name; },
    show(wanted) {
      if (wanted === name) return;
      [name, known] = [wanted, null];
      loading?.abort();
      loading = null;
      rows.show(null);
      fault(null);
      $('view-body').hidden = true;
      for (const id of ['view-sql', 'view-facts', 'view-notes', 'plan', 'lineage']) clear($(id));
      text($('plan-all'), 'Show all details');
      text($('view-name'), name ?? '');
      if (name !== null) load();
    },
    update(answer) {
      const same = status && started === answer.started_at;
      [status, started] = [answer, answer.started_at];
      const view = answer.views?.[name] ?? {};
      text($('view-rows'), number(view.rows));
      text($('view-changed'), number(view.last_changed_rows));
      text($('view-epoch'), number(view.last_epoch));
      text($('view-steps'), number(view.incremental_steps));
      text($('view-full'), number(view.full_steps));
      text($('view-state'), bytes(view.state_bytes));
      if (known && !same) facts();
      // Asked again where it failed, and of a process that was started anew, whose views may be others.
      if (known) definedBy ??= started;
      if (!loading && name !== null && (!known || definedBy !== started)) load();
      rows.update(answer);
    },
    epochs: answer => rows.epochs(answer),
  };
}
