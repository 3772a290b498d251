// The page: the header, what needs attention, and which of the pages is shown.

import { poll } from './api.js';
import { controls } from './control.js';
import { $, attr, list, text } from './dom.js';
import { NONE, ago, between, clock, count, duration, number, time } from './format.js';
import { incident, overview } from './overview.js';
import { badge } from './state.js';
import { viewPage } from './view.js';

const LONG_MS = 2000;
const CALM = ['waiting', 'loading', 'replaying', 'stopped'];

const pages = { overview: overview(), view: viewPage() };
const control = controls();
const state = badge();
$('state-mark').append(state.node);

let status = null;
let trouble = null;
let answered = null;

/** The server's clock now, also while it does not answer. */
const serverNow = () => (status.now ? new Date(Date.parse(status.now) + (Date.now() - answered)).toISOString() : null);

/** The state's word, its part of 100, the rest of its line, and the mark that goes with it. */
function stateLine() {
  const phase = status?.phase ?? {};
  if (trouble?.error.kind === 'gone' || trouble?.error.kind === 'slow') {
    const since = `no answer since ${duration(Math.max(1000, Date.now() - (answered ?? trouble.since)))}. Trying again every second.`;
    const from = answered ? ` What is shown is as of ${clock(new Date(answered).toISOString())}.` : '';
    return [trouble.error.kind === 'gone' ? 'stopped' : 'not answering', '', since + from, 'failing'];
  }
  if (trouble) return ['unknown', '', `the status cannot be told: ${trouble.error.message}`, 'failing'];
  if (!status) return ['connecting', '', '', 'loading'];
  const { rows, rows_estimate: estimate } = phase;
  switch (phase.name) {
    case 'stopped': return ['stopped', '', '', 'detached'];
    case 'applying': return ['applying', (phase.doing === 'loading' || phase.building) && rows != null ? `${number(rows)} rows` : '', 'brings another pipeline file in force', 'loading'];
    case 'draining': return ['draining', '', 'commits what was read, then stops', 'behind'];
    case 'loading': {
      const part = rows != null && estimate > 0 && rows <= estimate ? `${Math.floor((rows / estimate) * 100)} %` : '';
      const of = estimate != null ? ` of about ${number(estimate)}` : '';
      return ['loading', part, rows != null ? `${number(rows)}${of} rows` : '', 'loading'];
    }
    case 'replaying': {
      const { done, until } = status.replay ?? {};
      return ['replaying', '', status.replay ? `epoch ${number(done)} of the past, which goes up to ${number(until)}` : '', 'loading'];
    }
    default: {
      const wrong = problems().length;
      return ['running', '', wrong ? `with ${count(wrong, 'problem')}` : '', wrong ? 'behind' : 'ok'];
    }
  }
}

function header() {
  const [word, part, more, mark] = stateLine();
  // Only a changed word is announced; the rest of the line changes every second.
  state.update(mark, '');
  text($('state-word'), word);
  attr($('state-word'), { class: mark });
  text($('state-part'), part);
  text($('state-more'), more);
  document.body.classList.toggle('stale', Boolean(trouble));
  const failing = problems().length;
  const title = [failing ? `✕ ${failing}` : null, status?.pipeline, part ? `${word} ${part}` : word, 'Tidegate'];
  document.title = [pages.view.name, ...title].filter(Boolean).join(' · ');
  if (!status) return;
  text($('pipeline'), status.pipeline ?? 'Pipeline');
  text($('epoch'), number(status.epoch));
  time($('committed'), status.committed_at, serverNow());
  const { name, since_ms: since, rows, rows_estimate: estimate } = status.phase ?? {};
  const long = since > LONG_MS;
  const of = rows == null || name === 'loading' ? '' : `, ${number(rows)}${estimate == null ? '' : ` of about ${number(estimate)}`} rows`;
  text($('phase'), !name || trouble ? NONE : `${name} ${long ? 'for' : 'since'} ${duration(since)}${of}`);
  attr($('phase'), { class: long && !CALM.includes(name) ? 'long' : null });
  const up = between(status.started_at, status.now);
  text($('about'), `Tidegate ${status.version ?? NONE}, started ${ago(status.started_at, status.now)}`);
  attr($('about'), { title: up === null ? null : status.started_at });
  control.update(status, Boolean(trouble));
}

/** What is wrong now, each once: sources and sinks with their own words, then errors that nothing of these tells. */
function problems() {
  const found = [];
  const told = new Set();
  for (const [kind, members] of [['source', status?.sources], ['sink', status?.sinks]]) {
    for (const [name, { state: its, error, failing_since: at }] of Object.entries(members ?? {})) {
      if (!error && its !== 'failing' && its !== 'detached') continue;
      told.add(`${kind} ${name}`);
      found.push({ what: `${kind} ${name}`, is: its === 'detached' ? 'detached' : 'failing', at, message: error });
    }
  }
  for (const error of status?.errors ?? []) {
    if (error.resolved_at || told.has(error.what)) continue;
    told.add(error.what);
    found.push({ ...error, is: 'failing' });
  }
  return found;
}

function attention() {
  const found = problems();
  $('problems').hidden = !found.length;
  list($('problems').querySelector('ul'), found, problem => problem.what, incident, (node, problem) => {
    const { stands, when } = node.tell(problem);
    stands.update(problem.is);
    const since = between(problem.at, status.now);
    time(when, problem.at, status.now, since === null ? '' : `for ${duration(since)}`);
  });
}

function route() {
  const match = location.hash.match(/^#\/views\/(.+)$/);
  let name = null;
  try {
    name = match && decodeURIComponent(match[1]);
  } catch {
    name = match[1];
  }
  const home = !location.hash || location.hash === '#' || location.hash === '#/';
  if (!$('overview').hidden) pages.scroll = scrollY;
  pages.home = home;
  $('view').hidden = name === null;
  $('nowhere').hidden = home || name !== null;
  pages.view.show(name);
  show();
  if (!pages.routed) pages.routed = true;
  else if (name !== null) {
    scrollTo(0, 0);
    $('view-name').focus({ preventScroll: true });
  } else if (home && pages.left) {
    scrollTo(0, pages.scroll ?? 0);
    document.querySelector(`#graph a[href="${CSS.escape(pages.left)}"]`)?.focus({ preventScroll: true });
  }
  pages.left = name === null ? null : location.hash;
}

function show() {
  header();
  attention();
  $('unanswered').hidden = Boolean(status || trouble) || !pages.home;
  $('overview').hidden = !status || !pages.home;
  if (!status) return;
  if (pages.home) pages.overview.update(status);
  if (!$('view').hidden) pages.view.update(status);
  // Boxes are stops of the keyboard where there is something to scroll.
  for (const box of document.querySelectorAll('.scroll, .graph, .sql')) {
    const scrolls = box.scrollWidth > box.clientWidth || box.scrollHeight > box.clientHeight;
    if (box !== document.activeElement) attr(box, { tabindex: scrolls ? 0 : null });
  }
}

addEventListener('hashchange', route);
$('skip').addEventListener('click', event => {
  event.preventDefault();
  $('main').focus();
});
route();

setInterval(() => trouble && header(), 1000);
poll('/api/status', answer => {
  [status, trouble, answered] = [answer, null, Date.now()];
  show();
}, error => {
  trouble = { error, since: trouble?.since ?? Date.now() };
  show();
});
poll('/api/epochs?limit=120', answer => {
  pages.overview.epochs(answer);
  pages.view.epochs(answer);
}, () => {});
