/**
 * Tells when a page should have no connection: `offline`, `frozen` (or in the back/forward cache), and after `hiddenMs` of
 * being hidden `hidden`. Where there is no page, as in Node, never; workers know `offline` alone.
 * @param hiddenMs `undefined`: hidden or not makes no difference
 * @returns the way to stop
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
  // With an open connection a page is not kept in the back/forward cache.
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
