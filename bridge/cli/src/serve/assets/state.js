// The states of sources, views and sinks, and their marks: each has a word and a shape of its own beside its colour.

import { attr, h, s, text } from './dom.js';
import { bytes, compact, count, coarse, number } from './format.js';

const SHAPES = {
  ok: 'M-5 0a5 5 0 1 0 10 0a5 5 0 1 0 -10 0z',
  behind: 'M0 -5.5L6 5H-6z',
  failing: 'M-5.5 -3L-3 -5.5L0 -2.5L3 -5.5L5.5 -3L2.5 0L5.5 3L3 5.5L0 2.5L-3 5.5L-5.5 3L-2.5 0z',
  detached: 'M-5 -5H-1.5V5H-5zM1.5 -5H5V5H1.5z',
  'not loaded': 'M-5 0a5 5 0 1 0 10 0a5 5 0 1 0 -10 0zM-3 0a3 3 0 1 1 6 0a3 3 0 1 1 -6 0z',
};

/** A source that has more to read is behind once that takes longer than this. */
const BEHIND_MS = 10000;

export function sourceState(source) {
  const { snapshots, bytes: unread, ms } = source.lag ?? {};
  if (source.state === 'failing' || source.error) return 'failing';
  const has = (snapshots ?? 0) > 0 || (unread ?? 0) > 0 || (snapshots == null && unread == null);
  return has && ms > BEHIND_MS ? 'behind' : source.position ? 'ok' : 'not loaded';
}

export function sinkState(sink) {
  if (sink.state === 'failing' || sink.state === 'detached') return sink.state;
  if (sink.error) return 'failing';
  // What waits for the moment of a schedule is where it should be.
  return sink.behind > 0 && !sink.next_commit ? 'behind' : sink.epoch == null ? 'not loaded' : 'ok';
}

/** Views have no state of their own: they are what the epochs made them, or what an error says of them. */
export function viewState(name, view, status) {
  const failing = (status.errors ?? []).some(error => !error.resolved_at && error.what === `view ${name}`);
  return failing ? 'failing' : view.last_epoch == null && view.rows == null ? 'not loaded' : 'ok';
}

/** The lag in the unit that tells most. */
export function lagText(source) {
  const { snapshots, bytes: unread, ms } = source.lag ?? {};
  if (ms != null) return `lag ${coarse(ms)}`;
  if (snapshots != null) return `lag ${count(snapshots, 'snapshot')}`;
  return unread != null ? `lag ${bytes(unread)}` : 'lag –';
}

export const behindText = sink => (sink.behind > 0 ? `${compact(sink.behind)} behind` : `epoch ${number(sink.epoch)}`);

/** A mark to be put into an SVG. */
export function mark() {
  return s('path', { class: 'mark', 'fill-rule': 'evenodd' });
}

export function setMark(node, state) {
  attr(node, { d: SHAPES[state] ?? SHAPES['not loaded'], class: `mark ${state}` });
}

/** A mark and its word, for texts; `update` is called with the state. */
export function badge() {
  const path = mark();
  const word = h('span');
  const node = h('span', { class: 'badge' }, s('svg', { viewBox: '-7 -7 14 14', width: 11, height: 11, 'aria-hidden': 'true' }, path), word);
  return {
    node,
    update(state, shown = state) {
      setMark(path, state);
      attr(node, { class: `badge ${state}` });
      text(word, shown);
    },
  };
}
