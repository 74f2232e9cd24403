const LONGEST_DELAY_MS = 30_000

/**
 * How long to wait before connecting again: the server's `retry:` doubled with each failure in a row up to 30 s, with
 * full jitter above a quarter of it, so that a thousand clients do not return at once.
 */
export function reconnectDelay(retryMs: number, failures: number, random: () => number = Math.random): number {
  // At least 1 ms: `retry: 0` doubled would be 0 for ever, and a server that is down asked without a pause.
  const most = Math.max(retryMs, Math.min(LONGEST_DELAY_MS, Math.max(1, retryMs) * 2 ** failures))
  return Math.round(most * (0.25 + 0.75 * random()))
}

/** `Retry-After` in ms, given in seconds or as a date (RFC 9110 10.2.3); 0 without one. */
export function retryAfterMs(response: Pick<Response, 'headers'>, now: number = Date.now()): number {
  const value = response.headers.get('retry-after')
  if (value === null) return 0
  const seconds = Number(value)
  if (Number.isFinite(seconds)) return Math.max(0, seconds * 1000)
  return Math.max(0, (Date.parse(value) || now) - now)
}
