/**
 * The kit's client and the browser's own EventSource, each run until it gives up, with all that it saw. For Node and,
 * bundled, for pages.
 */
import { type ClientOptions, createEventStream } from '../../lib/client/index.js'
import type { Seen } from '../interop/script.js'

export interface Observation {
  /** `id` is the client's last event id when it passed the event on. */
  readonly events: readonly Seen[]
  /** What the kit's client said of its waiting: how long each time. */
  readonly delays: readonly number[]
  /** Why the kit's client is closed. */
  readonly code?: string | undefined
}

export interface RunOptions extends Pick<ClientOptions, 'transport' | 'fetch' | 'signal'> {
  /** Whose names an EventSource must know. */
  readonly types: readonly string[]
  /** Close when so many events have been seen. */
  readonly closeAfter?: number | undefined
  /** With a token, which a 401 makes fresh. */
  readonly withToken?: boolean | undefined
}

export function runKit(url: string, options: RunOptions): Promise<Observation> {
  const { types, closeAfter, withToken, ...own } = options
  return new Promise((resolve) => {
    const events: Seen[] = []
    const delays: number[] = []
    let last = ''
    const stream = createEventStream(url, {
      // So long that no test could wait for it: whoever returns has done so because of the server's `retry:`. (By
      // native that is not seen.)
      retryMs: own.transport === 'native' ? 20 : 100_000_000,
      eventTypes: types,
      ...(withToken && { token: (refresh) => (refresh ? 'fresh' : 'stale') }),
      ...own,
      onState: ({ state, delayMs, error }) => {
        // Told again with what is left of it where a timer was early.
        if (delayMs !== undefined && last !== 'waiting') delays.push(delayMs)
        last = state
        if (state === 'closed') resolve({ events, delays, code: error?.code })
      },
    })
    stream.on('*', ({ type, data }) => {
      events.push({ type, data, id: stream.cursor })
      if (events.length === closeAfter) stream.close()
    })
  })
}

export function runEventSource(url: string, { types, closeAfter }: RunOptions): Promise<Observation> {
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
      if (events.length === closeAfter) settle()
    }
    for (const type of new Set(['message', ...types])) source.addEventListener(type, note)
    source.addEventListener('error', () => {
      if (source.readyState === EventSource.CLOSED) settle()
    })
  })
}
