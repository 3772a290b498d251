// Requests to the process: JSON, with the errors in its own words.

/** How long to wait for what is asked all the time, and for what is asked once. */
const [SHORT_MS, LONG_MS] = [5000, 60000];

/** What went wrong: `kind` is "gone" (no connection), "slow" (no answer in time) or "told" (an answer that says so). */
export class ApiError extends Error {
  constructor(kind, message, status = null) {
    super(message);
    Object.assign(this, { kind, status });
  }
}

export async function request(path, { signal, patience = LONG_MS, ...options } = {}) {
  const late = AbortSignal.timeout(patience);
  const stop = new AbortController();
  const end = () => stop.abort();
  for (const given of [late, signal]) given?.addEventListener('abort', end, { once: true });
  try {
    const response = await fetch(path, { cache: 'no-store', ...options, signal: stop.signal });
    const body = await response.json().catch(error => {
      if (stop.signal.aborted) throw error;
      return null;
    });
    if (response.ok && body !== null) return body;
    const message = body?.error ?? `the answer was ${response.status} ${response.statusText}, and no JSON`;
    throw new ApiError('told', message, response.status);
  } catch (error) {
    if (error instanceof ApiError || signal?.aborted) throw error;
    if (late.aborted) throw new ApiError('slow', `no answer within ${patience / 1000} s`);
    throw new ApiError('gone', 'no connection');
  }
}

export const viewPath = (name, rest = '') => `/api/views/${encodeURIComponent(name)}${rest}`;

/** Asks again and again, one request at a time: every second, or every two while the page is hidden. */
export function poll(path, onAnswer, onError) {
  let timer = null;
  let asking = false;
  const ask = async () => {
    if (asking) return;
    asking = true;
    clearTimeout(timer);
    try {
      const answer = await request(path, { patience: SHORT_MS });
      onAnswer(answer);
    } catch (error) {
      if (error instanceof ApiError) onError(error);
      else console.error(error);
    }
    asking = false;
    timer = setTimeout(ask, document.hidden ? 2000 : 1000);
  };
  document.addEventListener('visibilitychange', () => document.hidden || ask());
  ask();
}
