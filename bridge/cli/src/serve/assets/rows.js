// Rows of a view, now or as of an epoch, and its latest changes.

import { request, viewPath } from './api.js';
import { $, clear, h, list, text } from './dom.js';
import { clock, count, number, time } from './format.js';

const LIMIT = 20;
const NUMERIC = /^(U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|DOUBLE|FLOAT|REAL|DECIMAL\b.*|NUMERIC\b.*)$/i;
const WORDS = {
  insert: ['+', 'insert'], delete: ['−', 'delete'],
  update_preimage: ['−', 'update, before'], update_postimage: ['+', 'update, after'],
};

const kind = column => (NUMERIC.test(column?.type ?? '') ? 'num' : null);
const heads = columns => columns.map(column => h('th', { scope: 'col', class: kind(column) },
  h('span', { class: 'name' }, column.name), ' ', h('small', {}, column.type ?? '')));

/** A value as it came; NULL and the empty text look different from any text. */
function show(cell, value, within = cell) {
  text(within, value === null || value === undefined ? 'NULL' : value === '' ? '(empty)' : value);
  cell.classList.toggle('none', value === null || value === undefined || value === '');
  if (String(value ?? '').length > 40) cell.title = value;
  else cell.removeAttribute('title');
}

function sampleTable(table, { columns = [], rows = [] }) {
  const shape = JSON.stringify(columns);
  if (table.shape !== shape) {
    clear(table);
    table.shape = shape;
    table.append(h('thead', {}, h('tr', {}, ...heads(columns))), h('tbody'));
  }
  const make = () => h('tr', {}, ...columns.map(column => h('td', { class: kind(column) })));
  list(table.tBodies[0], rows, (_, at) => at, make, (line, values) => columns.forEach((_, at) => show(line.cells[at], values[at])));
  table.hidden = !rows.length;
}

/** The other image of an update, which is the change after or before it. */
function partner(changes, at) {
  const of = changes[at].change;
  const other = of === 'update_preimage' ? changes[at + 1] : of === 'update_postimage' ? changes[at - 1] : null;
  return other && other.epoch === changes[at].epoch && other.change.startsWith('update') && other.change !== of ? other : null;
}

function changeLine(columns, changes, at) {
  const { change, copies, values } = changes[at];
  const [sign, word] = WORDS[change] ?? ['?', change];
  const other = partner(changes, at);
  const cells = columns.map((column, index) => {
    const cell = h('td', { class: kind(column) });
    const differs = other && other.values[index] !== values[index];
    const within = differs ? h(change === 'update_preimage' ? 'del' : 'ins') : cell;
    if (differs) cell.append(within);
    show(cell, values[index], within);
    return cell;
  });
  const head = [h('span', { class: 'sign', 'aria-hidden': 'true' }, sign), ` ${word}`, copies > 1 ? ` ×${number(copies)}` : ''];
  return h('tr', { class: change }, h('th', { scope: 'row' }, ...head), ...cells);
}

function changesTable(table, { columns = [], changes = [] }) {
  const shape = JSON.stringify(columns);
  if (table.shape !== shape) {
    clear(table);
    table.shape = shape;
    table.append(h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, 'Change'), ...heads(columns))));
  }
  const groups = new Map();
  changes.forEach((change, at) => groups.set(change.epoch, [...(groups.get(change.epoch) ?? []), at]));
  const bodies = [...groups].map(([epoch, of]) => ({ key: `${epoch} ${of.length}`, epoch, of }));
  const wanted = new Map([...table.tBodies].map(body => [body.key, body]));
  bodies.forEach(({ key, epoch, of }, index) => {
    let body = wanted.get(key);
    wanted.delete(key);
    if (!body) {
      const at = h('time');
      time(at, changes[of[0]].time, null, clock(changes[of[0]].time));
      const head = h('th', { scope: 'rowgroup', colspan: columns.length + 1 }, h('span', {}, `Epoch ${number(epoch)} · `, at));
      body = h('tbody', {}, h('tr', { class: 'epoch' }, head), ...of.map(change => changeLine(columns, changes, change)));
      body.key = key;
    }
    if (table.tBodies[index] !== body) table.insertBefore(body, table.tBodies[index] ?? null);
  });
  wanted.forEach(body => body.remove());
  table.hidden = !changes.length;
}

export function rowsAndChanges() {
  let [name, past, status, shown, range, times] = [null, false, null, {}, null, new Map()];
  let [wanted, timer] = [null, null];
  const busy = new Map();
  const slider = $('asof-epoch');

  function fault(id, error) {
    text($(id), error?.message ?? '');
    $(id).hidden = !error;
  }

  /** One request of each kind at a time; a later one of another epoch replaces it. */
  async function ask(what, path, done, failed) {
    const mine = new AbortController();
    busy.get(what)?.abort();
    busy.set(what, mine);
    try {
      const answer = await request(viewPath(name, path), { signal: mine.signal });
      if (busy.get(what) === mine) done(answer);
    } catch (error) {
      if (busy.get(what) === mine && !mine.signal.aborted) failed(error);
    }
    if (busy.get(what) === mine) busy.delete(what);
  }

  function rows(epoch) {
    const done = answer => {
      fault('rows-fault', null);
      sampleTable($('rows'), answer);
      const of = answer.rows?.length ?? 0;
      const told = answer.rows_total > of ? `${number(of)} of ${count(answer.rows_total, 'row')}` : count(of, 'row');
      text($('rows-told'), `${told} ${epoch === null ? 'at' : 'as of'} epoch ${number(answer.epoch ?? epoch)}`);
      $('rows-none').hidden = of > 0;
      shown.rows = epoch ?? answer.epoch ?? status?.epoch;
    };
    const failed = error => {
      fault('rows-fault', error);
      if (epoch === null) return;
      $('rows').hidden = $('rows-none').hidden = true;
      text($('rows-told'), '');
    };
    ask('rows', epoch === null ? `/sample?limit=${LIMIT}` : `/asof?epoch=${epoch}&limit=${LIMIT}`, done, failed);
  }

  function label() {
    const epoch = wanted ?? range.to;
    const at = times.get(epoch);
    text($('asof-told'), `${number(epoch)}${wanted === null ? ', the latest' : at ? `, committed ${clock(at)}` : ''}`);
    slider.setAttribute('aria-valuetext', `epoch ${epoch}${wanted === null ? ', the latest' : ''}`);
    $('asof-now').disabled = wanted === null;
  }

  function setRange(answer) {
    range = answer;
    $('asof').hidden = false;
    slider.min = range.from;
    slider.max = range.to;
    if (wanted !== null && wanted < range.from) choose(range.from);
    slider.value = wanted ?? range.to;
    slider.disabled = !(range.to > range.from);
    text($('asof-from'), `epoch ${number(range.from)}`);
    text($('asof-to'), `epoch ${number(range.to)}`);
    label();
  }

  function choose(epoch) {
    wanted = epoch !== null && range && epoch < range.to ? epoch : null;
    if (range) label();
    clearTimeout(timer);
    timer = setTimeout(() => name !== null && rows(wanted), 150);
  }
  slider.addEventListener('input', () => choose(Number(slider.value)));
  $('asof-now').addEventListener('click', () => {
    slider.value = range.to;
    choose(null);
    slider.focus();
  });

  function refresh() {
    if (name === null) return;
    const epoch = status?.epoch;
    if (wanted === null && shown.rows !== epoch && !busy.has('rows')) rows(null);
    if (shown.changes !== epoch && !busy.has('changes')) {
      ask('changes', '/changes?limit=50', answer => {
        fault('changes-fault', null);
        changesTable($('changes'), answer);
        $('changes-none').hidden = Boolean(answer.changes?.length);
        shown.changes = epoch;
      }, error => fault('changes-fault', error));
    }
    if (past && shown.range !== epoch && !busy.has('range')) {
      ask('range', '/epochs', answer => {
        setRange(answer);
        shown.range = epoch;
      }, () => {});
    }
  }

  return {
    show(view, history = false) {
      [name, past, shown, range, wanted] = [view, history, {}, null, null];
      clearTimeout(timer);
      for (const request of busy.values()) request.abort();
      busy.clear();
      for (const id of ['rows', 'changes']) {
        clear($(id));
        $(id).shape = null;
        fault(`${id}-fault`, null);
        $(`${id}-none`).hidden = true;
      }
      text($('rows-told'), '');
      $('asof').hidden = true;
      refresh();
    },
    update(answer) {
      status = answer;
      refresh();
    },
    epochs(answer) {
      times = new Map((answer.epochs ?? []).map(({ epoch, time: at }) => [epoch, at]));
    },
  };
}

