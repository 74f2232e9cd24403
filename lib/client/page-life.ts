/**
 * Reports when a page should have no connection, with a reason: `offline`; `frozen` (also in the back/forward cache);
 * `hidden` for `hiddenMs`. Workers report `offline` only, Node nothing.
 * @param hiddenMs `undefined`: does not report `hidden`
 * @returns stops the reports
 */
export function watchPage(
  hiddenMs: number | undefined,
  pause: (reason: string) => void,
  resume: (reason: string) => void,
): () => void {
  const watching = new AbortController()
  const page = typeof document === 'undefined' ? undefined : document
  let timer: ReturnType<typeof setTimeout> | undefined
  const on = (target: Partial<EventTarget> | undefined, type: string, listener: (event: Event) => void): void =>
    target?.addEventListener?.(type, listener, { signal: watching.signal })
  const onVisibility = (): void => {
    clearTimeout(timer)
    if (page?.hidden) timer = setTimeout(pause, hiddenMs, 'hidden')
    else resume('hidden')
  }

  on(globalThis, 'offline', () => pause('offline'))
  on(globalThis, 'online', () => resume('offline'))
  // Browsers do not keep a page with an open connection in the back/forward cache.
  on(globalThis, 'pagehide', (event) => (event as PageTransitionEvent).persisted && pause('frozen'))
  on(globalThis, 'pageshow', () => resume('frozen'))
  on(page, 'freeze', () => pause('frozen'))
  on(page, 'resume', () => resume('frozen'))
  if (hiddenMs !== undefined) {
    on(page, 'visibilitychange', onVisibility)
    if (page?.hidden) onVisibility()
  }
  if (typeof navigator !== 'undefined' && navigator.onLine === false) pause('offline')
  return () => {
    clearTimeout(timer)
    watching.abort()
  }
}
