/**
 * The browser's side: one stream on `fetch`, which can send an Authorization header. Resumes with its cursor, backs off
 * with jitter, and notices a connection that died without a word. No Node imports.
 */
import { createParser, type EventSourceMessage } from 'eventsource-parser'
import { reconnectDelay, retryAfterMs } from './backoff.js'

/** `waiting`: between connections; `closed`: for good. */
export type ClientState = 'connecting' | 'open' | 'waiting' | 'closed'

export interface ClientEvent {
  /** The event's type; `message` where the server named none. */
  readonly type: string
  /** The data as sent. */
  readonly data: string
  /** The position after this event; '' for the kit's own control events. */
  readonly id: string
}

export type ClientListener = (event: ClientEvent) => void

export interface ClientStateChange {
  readonly state: ClientState
  /** Why, where there is a reason: a control event's, a status, a network error. */
  readonly reason?: string
  /** In state `waiting`: how long. */
  readonly delayMs?: number
}

export interface ClientOptions {
  /** The token for the Authorization header; asked for before every connection, and anew after a 401. */
  readonly token?: (refresh: boolean) => string | undefined | Promise<string | undefined>
  /** Where to begin: the `cursor` a list was loaded with. */
  readonly cursor?: string
  /** Told of every change of state. */
  readonly onState?: (change: ClientStateChange) => void
}

export interface ClientStream {
  readonly state: ClientState
  /** The position after the last event had. */
  readonly cursor: string
  /** Listens to one type of event; `*` hears all, control events included. @returns the way to stop */
  on(type: string, listener: ClientListener): () => void
  /** Ends it for good. Idempotent. */
  close(): void
}

const UNAUTHORIZED_WAIT_MS = 3000
const DEFAULT_RETRY_MS = 3000
/** Missed heartbeats before the connection counts as dead. */
const SILENCE_FACTOR = 2.5

/** Opens a stream and keeps it open until `close()` or an answer that cannot get better (204, 403, 404 …). */
export function createEventStream(url: string, options: ClientOptions = {}): ClientStream {
  const listeners = new Map<string, Set<ClientListener>>()
  let state: ClientState = 'connecting'
  let cursor = options.cursor ?? ''
  let retryMs = DEFAULT_RETRY_MS
  let failures = 0
  let refreshToken = false
  let silenceMs = 0
  let connection: AbortController | undefined
  let timer: ReturnType<typeof setTimeout> | undefined
  let watchdog: ReturnType<typeof setTimeout> | undefined

  function setState(next: ClientState, reason?: string, delayMs?: number): void {
    state = next
    options.onState?.({ state, ...(reason !== undefined && { reason }), ...(delayMs !== undefined && { delayMs }) })
  }

  function close(reason = 'closed'): void {
    if (state === 'closed') return
    clearTimeout(timer)
    clearTimeout(watchdog)
    connection?.abort()
    setState('closed', reason)
  }

  function wait(reason: string, delayMs: number): void {
    clearTimeout(watchdog)
    if (state === 'closed') return
    setState('waiting', reason, delayMs)
    timer = setTimeout(() => void connect(), delayMs)
  }

  function emit(event: ClientEvent): void {
    for (const type of [event.type, '*']) {
      for (const listener of listeners.get(type) ?? []) listener(event)
    }
  }

  function onMessage({ event: type = 'message', data, id = '' }: EventSourceMessage): void {
    if (id !== '') cursor = id
    if (type === 'sse.open') {
      failures = 0
      silenceMs = heartbeatOf(data) * SILENCE_FACTOR
      setState('open')
    } else if (type === 'sse.expired') {
      // The connection is about to end; coming back with the same token would only cost a 401.
      refreshToken = true
    }
    emit({ type, data, id })
  }

  function onBytes(): void {
    clearTimeout(watchdog)
    if (silenceMs > 0) watchdog = setTimeout(() => connection?.abort(), silenceMs)
  }

  async function connect(): Promise<void> {
    setState('connecting')
    connection = new AbortController()
    try {
      const response = await request(connection.signal)
      if (response.ok && response.status !== 204 && response.body) {
        await read(response.body)
        wait('the connection ended', reconnectDelay(retryMs, failures++))
        return
      }
      onRefusal(response)
    } catch (error) {
      wait(error instanceof Error ? error.message : String(error), reconnectDelay(retryMs, failures++))
    }
  }

  async function request(signal: AbortSignal): Promise<Response> {
    const token = await options.token?.(refreshToken)
    refreshToken = false
    const headers: Record<string, string> = { Accept: 'text/event-stream' }
    if (token !== undefined) headers.Authorization = `Bearer ${token}`
    if (cursor !== '') headers['Last-Event-ID'] = cursor
    return fetch(url, { headers, signal, cache: 'no-store', credentials: 'same-origin' })
  }

  async function read(body: ReadableStream<Uint8Array>): Promise<void> {
    const parser = createParser({
      onEvent: onMessage,
      onRetry: (ms) => {
        retryMs = ms
      },
    })
    const decoder = new TextDecoder()
    const reader = body.getReader()
    for (let chunk = await reader.read(); !chunk.done; chunk = await reader.read()) {
      parser.feed(decoder.decode(chunk.value, { stream: true }))
      // After the parser, which may just have learnt how often to expect something.
      onBytes()
    }
  }

  function onRefusal(response: Response): void {
    const reason = `HTTP ${response.status}`
    if (response.status === 401) {
      refreshToken = true
      wait(reason, UNAUTHORIZED_WAIT_MS)
    } else if (response.status === 429 || response.status >= 500) {
      wait(reason, Math.max(retryAfterMs(response), reconnectDelay(retryMs, failures++)))
    } else {
      close(reason)
    }
  }

  void connect()

  return {
    get state() {
      return state
    },
    get cursor() {
      return cursor
    },
    on(type, listener) {
      const ofType = listeners.get(type) ?? new Set()
      listeners.set(type, ofType.add(listener))
      return () => ofType.delete(listener)
    },
    close: () => close(),
  }
}

function heartbeatOf(data: string): number {
  try {
    return Number((JSON.parse(data) as { heartbeatMs?: unknown }).heartbeatMs) || 0
  } catch {
    // Not this kit's server: then nothing is known about heartbeats, and there is no watchdog.
    return 0
  }
}
