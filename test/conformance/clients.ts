/**
 * Runs the kit's client, or the browser's own EventSource, until it stops, and records what it observed. For Node and,
 * bundled, for pages.
 */
import { type ClientOptions, createEventStream } from '../../lib/client/index.js'
import type { Seen } from '../interop/script.js'

export interface Observation {
  /** The events. `id` is the client's last event id when it delivered the event. */
  readonly events: readonly Seen[]
  /** The waits that the kit's client reported, in ms. */
  readonly delays: readonly number[]
  /** Why the kit's client is closed. */
  readonly code?: string | undefined
}

export interface RunOptions extends Pick<ClientOptions, 'transport' | 'fetch' | 'signal'> {
  /** The event names for which an EventSource needs listeners. */
  readonly types: readonly string[]
  /** Close after so many events. */
  readonly closeAfter?: number | undefined
  /** Report each event to the server, so that it can wait until the client has read it. */
  readonly reportsEvents?: boolean | undefined
  /** Use a token, which is replaced after a 401. */
  readonly withToken?: boolean | undefined
}

export function runKit(url: string, options: RunOptions): Promise<Observation> {
  const { types, closeAfter, withToken, reportsEvents, ...own } = options
  return new Promise((resolve) => {
    const events: Seen[] = []
    const delays: number[] = []
    let last = ''
    const stream = createEventStream(url, {
      // Longer than any test: a client that reconnects has used the server's `retry:`. (With `native` it cannot.)
      retryMs: own.transport === 'native' ? 20 : 100_000_000,
      eventTypes: types,
      ...(withToken && { token: (refresh) => (refresh ? 'fresh' : 'stale') }),
      ...own,
      onState: ({ state, delayMs, error }) => {
        // A wait may be reported again, with the remaining time, if a timer was early.
        if (delayMs !== undefined && last !== 'waiting') delays.push(delayMs)
        last = state
        if (state === 'closed') resolve({ events, delays, code: error?.code })
      },
    })
    stream.on('*', ({ type, data }) => {
      events.push({ type, data, id: stream.cursor })
      if (reportsEvents) report(url, data)
      if (events.length === closeAfter) stream.close()
    })
  })
}

export function runEventSource(url: string, { types, closeAfter, reportsEvents }: RunOptions): Promise<Observation> {
  return new Promise((resolve) => {
    const events: Seen[] = []
    const source = new EventSource(url)
    const settle = (): void => {
      source.close()
      resolve({ events, delays: [] })
    }
    const note = (event: Event): void => {
      // Its own `open` and `error` have no data.
      if (!(event instanceof MessageEvent)) return
      events.push({ type: event.type, data: event.data as string, id: event.lastEventId })
      if (reportsEvents) report(url, event.data as string)
      if (events.length === closeAfter) settle()
    }
    for (const type of new Set(['message', ...types])) source.addEventListener(type, note)
    source.addEventListener('error', () => {
      if (source.readyState === EventSource.CLOSED) settle()
    })
  })
}

function report(url: string, data: string): void {
  void fetch(new URL(`received?data=${encodeURIComponent(data)}`, url), { method: 'POST' })
}
