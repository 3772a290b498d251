// Numbers, sizes, times and positions as people read them. What is absent is a dash.

import { attr, text } from './dom.js';

export const NONE = '–';

const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat('en', { maximumFractionDigits: 1 });
const short = new Intl.NumberFormat('en', { notation: 'compact', maximumSignificantDigits: 3 });
const known = value => typeof value === 'number' && Number.isFinite(value);

export const number = value => (known(value) ? whole.format(value) : NONE);
export const compact = value => (!known(value) ? NONE : Math.abs(value) < 10000 ? whole.format(value) : short.format(value));
export const rate = value => (known(value) ? (value < 100 ? tenths : whole).format(value) : NONE);
export const count = (value, one, many = `${one}s`) => `${number(value)} ${value === 1 ? one : many}`;

export function bytes(value) {
  if (!known(value)) return NONE;
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  let unit = 0;
  for (; Math.abs(value) >= 1023.5 && unit < units.length - 1; unit += 1) value /= 1024;
  return `${(unit > 0 && Math.abs(value) < 9.95 ? tenths : whole).format(value)} ${units[unit]}`;
}

export function duration(ms) {
  if (!known(ms)) return NONE;
  if (ms < 9.95) return `${tenths.format(ms)} ms`;
  if (ms < 999.5) return `${whole.format(ms)} ms`;
  if (ms < 9950) return `${tenths.format(ms / 1000)} s`;
  const seconds = Math.round(ms / 1000);
  const parts = (most, one, least, other) => (least ? `${whole.format(most)} ${one} ${least} ${other}` : `${whole.format(most)} ${one}`);
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 3600) return parts(Math.floor(seconds / 60), 'min', seconds % 60, 's');
  if (seconds < 48 * 3600) return parts(Math.floor(seconds / 3600), 'h', Math.floor((seconds % 3600) / 60), 'min');
  return parts(Math.floor(seconds / 86400), 'd', Math.floor((seconds % 86400) / 3600), 'h');
}

/** In one unit. */
export function coarse(ms) {
  if (!known(ms) || ms < 119500) return duration(ms);
  const [unit, size] = ms < 7200e3 ? ['min', 60e3] : ms < 172800e3 ? ['h', 3600e3] : ['d', 86400e3];
  return `${(ms < 10 * size ? tenths : whole).format(ms / size)} ${unit}`;
}

const millis = iso => (iso ? Date.parse(iso) : NaN);

export function between(from, to) {
  return Number.isNaN(millis(from) + millis(to)) ? null : Math.max(0, millis(to) - millis(from));
}

/** "14 s ago", by the server's clock. */
export function ago(iso, now) {
  const passed = between(iso, now);
  if (passed === null) return NONE;
  return passed < 1000 ? 'under 1 s ago' : `${duration(passed < 10000 ? Math.floor(passed / 1000) * 1000 : passed)} ago`;
}

/** The local date and time. */
export const local = iso => (Number.isNaN(millis(iso)) ? NONE : new Date(iso).toLocaleString('sv'));
export const clock = iso => (Number.isNaN(millis(iso)) ? NONE : new Date(iso).toLocaleTimeString('sv'));

/** Fills a <time> with a relative text; the absolute one is its title. */
export function time(node, iso, now, shown = ago(iso, now)) {
  text(node, shown);
  const valid = !Number.isNaN(millis(iso));
  attr(node, { datetime: valid ? iso : null, title: valid ? `${local(iso)} local time, ${iso}` : null });
}

/** What is inside a position: "snapshot 41", "LSN 0/16B3748". */
export function position(value) {
  if (value == null) return NONE;
  if (typeof value !== 'object') return String(value);
  const words = { snapshot_id: 'snapshot', lsn: 'LSN' };
  const told = Object.entries(value).filter(([, inner]) => inner != null);
  const inside = inner => (typeof inner === 'object' ? JSON.stringify(inner) : String(inner));
  return told.map(([name, inner]) => `${words[name] ?? name} ${inside(inner)}`).join(', ') || NONE;
}

export const href = view => `#/views/${encodeURIComponent(view)}`;
