/** The global `interop` of the page of the interoperability tests: runs one of the browser clients. Bundled. */
import { type EventSourceMessage, type FetchEventSourceInit, fetchEventSource } from '@microsoft/fetch-event-source'
import reconnecting from 'reconnecting-eventsource'
import { SSE, type SSEOptions } from 'sse.js'
import type { BrowserClient } from '../interop/clients.js'
import type { Seen } from '../interop/script.js'

// Its types describe its CommonJS build, but bundlers use the ES build.
const ReconnectingEventSource = reconnecting as unknown as typeof reconnecting.default

/** Variants of some clients, for the notes of the table. */
type Variant =
  | 'sse.js by default'
  | 'sse.js with maxRetries'
  | 'fetch-event-source by default'
  | 'fetch-event-source as advised'
type Opener = (url: string, types: readonly string[]) => () => boolean

const seen: Seen[] = []
const note = ({ type, data, lastEventId }: MessageEvent<string>): void => {
  seen.push({ type, data, id: lastEventId })
}

const openSseJs =
  (options: SSEOptions): Opener =>
  (url, types) => {
    const source = new SSE(url, { reconnectDelay: 100, ...options })
    for (const type of types) source.addEventListener(type, note as never)
    // Its state is `closed` between two connections, too.
    return () => source.readyState === 2 && source.reconnectTimer === null
  }

const openFetch =
  (options: FetchEventSourceInit): Opener =>
  (url) => {
    let isOver = false
    const settle = (): void => {
      isOver = true
    }
    const onmessage = ({ event, data, id }: EventSourceMessage): void => {
      seen.push({ type: event || 'message', data, id })
    }
    fetchEventSource(url, { onmessage, ...options }).then(settle, settle)
    return () => isOver
  }

const onclose = (): void => {
  throw new Error('The server has ended the stream')
}

class Refused extends Error {}

const OPENERS: Readonly<Record<BrowserClient | Variant, Opener>> = {
  'native EventSource': (url, types) => {
    const source = new EventSource(url)
    for (const type of types) source.addEventListener(type, note)
    return () => source.readyState === EventSource.CLOSED
  },
  'reconnecting-eventsource': (url, types) => {
    const source = new ReconnectingEventSource(url, { max_retry_time: 100 })
    for (const type of types) source.addEventListener(type, note)
    return () => source.readyState === 2
  },
  '@microsoft/fetch-event-source': openFetch({ onclose }),
  'fetch-event-source by default': openFetch({}),
  // As docs/interop.md recommends.
  'fetch-event-source as advised': openFetch({
    onclose,
    async onopen({ status }) {
      if ([204, 401, 403, 404].includes(status)) throw new Refused(`HTTP ${status}`)
      if (status !== 200) throw new Error(`HTTP ${status}`)
    },
    onerror(error) {
      if (error instanceof Refused) throw error
    },
  }),
  'sse.js': openSseJs({ autoReconnect: true }),
  'sse.js by default': openSseJs({}),
  'sse.js with maxRetries': openSseJs({ autoReconnect: true, maxRetries: 1 }),
}

class Interop {
  readonly seen = seen
  isOver: () => boolean = () => false

  open(name: BrowserClient | Variant, url: string, types: readonly string[]): void {
    this.isOver = OPENERS[name](url, types)
  }
}

declare global {
  var interop: Interop
}

globalThis.interop = new Interop()

export type { Interop }
