/**
 * The browser's side: one stream, kept open until it is closed or refused for good. Owns what comes after each attempt. No Node
 * imports.
 *
 * ```
 *   connecting ──first byte──► open ──ended, silent──► waiting ──► connecting …
 *       │ swallowed twice        │ sse.poll               ▲
 *       └────────► polling ◄─────┘                        │ failed
 *                    └── the answer, or the time, says stream ──► connecting
 *   any ── close(), sse.close, a refusal that stays ──► closed
 * ```
 */

import type { ReceivedEvent } from '../wire/parse.js'
import { createAcks } from './acks.js'
import { reconnectDelay } from './backoff.js'
import { CONTROL_TYPES, controlData } from './control.js'
import { EventStreamError } from './error.js'
import { createEventQueue } from './event-queue.js'
import { connectFetch } from './fetch-transport.js'
import { ClientEvent, createListeners, guarded } from './listeners.js'
import { connectNative } from './native-transport.js'
import type { ClientOptions, ClientState, ClientStateChange, ClientStream } from './options.js'
import { watchPage } from './page-life.js'
import { createRequests, type RetryableError } from './requests.js'
import { createRest } from './rest.js'

/** What comes after an attempt. */
interface Next {
  readonly delayMs: number
  /** The part of it that the server asked for. */
  readonly floorMs?: number
  /** Left out: the state stays. */
  readonly reason?: string
}

interface Polling {
  readonly url: URL
  readonly reason: string
  /** When to try the stream again, by the monotonic clock; `undefined`: when an answer says so. */
  readonly streamAt?: number
}

/** As `multiplexer.poll()` answers. */
interface PollAnswer {
  readonly events: readonly ReceivedEvent[]
  readonly cursor: string
  readonly stream: boolean
  readonly afterMs: number
}

const JSON_TYPE = 'application/json'
/** Missed heartbeats before the connection counts as dead. */
const SILENCE_FACTOR = 2.5
const LONGEST_STREAM_RETRY_MS = 600_000
/** Between an answer that brought nothing and the next poll: a server that answers at once must not be asked without pause. */
const SHORTEST_POLL_MS = 200
/** Why an attempt is cut off. */
const INTERRUPTED = new Error('interrupted')
const SWALLOWED = new Error('nothing arrives')
const SILENT = new Error('no heartbeat')

/**
 * Opens a stream and keeps it open until `close()` or an answer that cannot get better.
 * @throws EventStreamError `ERR_SSE_OPTION_INVALID`
 */
export function createEventStream<Events extends object = Record<string, unknown>>(
  url: string,
  options: ClientOptions = {},
): ClientStream<Events> {
  const { signal: closing, transport, window, openTimeoutMs = 10_000, longPollMs = 20_000 } = options
  const base = new URL(url, globalThis.location?.href)
  const at = (relative: string): URL => new URL(relative, base)
  const listeners = createListeners()
  const requests = createRequests(options)
  const rest = createRest()
  const queue = createEventQueue(options.bufferEvents ?? 256, onHandled)
  const acks = createAcks(options.ackMs ?? 1000, async (ack) => {
    const target = at(options.ackUrl ?? 'ack')
    const headers = { 'Content-Type': JSON_TYPE, ...(await requests.authorize(target, 'header')) }
    const body = JSON.stringify({ ...ack, buffer: queue.fullness() })
    await requests.send(target, { method: 'POST', headers, body })
  })
  let status: ClientStateChange = { state: 'connecting' }
  let cursor = options.cursor ?? ''
  let { retryMs = 3000 } = options
  let failures = 0
  /** Attempts in a row of which not one byte arrived. */
  let swallowed = 0
  /** Times the stream is to be tried again while polling takes its place. */
  let streamTries = 0
  let polling: Polling | undefined
  let attempt = new AbortController()
  let guard: ReturnType<typeof setTimeout> | undefined
  let heartbeatMs = 0
  let silenceMs = 0
  /** What the server said of what comes after this connection. */
  let farewell: Next | undefined
  let listenNative: ((type: string) => void) | undefined

  function setState(state: ClientState, more: Omit<ClientStateChange, 'state'> = {}): void {
    if (status.state === 'closed') return
    status = { state, ...more }
    guarded(options.onState, status)
  }

  function close(reason: string, error?: EventStreamError): void {
    if (status.state === 'closed') return
    setState('closed', { reason, ...(error && { error }) })
    stopWatching()
    closing?.removeEventListener('abort', onAbort)
    endAttempt()
    queue.end(error)
    rest.skip()
  }

  /** Cuts the attempt off unless something happens before; 0: does not. */
  function expectWithin(ms: number, reason: Error): void {
    clearTimeout(guard)
    if (ms > 0) guard = setTimeout(() => attempt.abort(reason), ms)
  }

  function endAttempt(): void {
    expectWithin(0, INTERRUPTED)
    acks.close()
    attempt.abort(INTERRUPTED)
  }

  async function run(): Promise<void> {
    while (status.state !== 'closed') {
      const { delayMs, floorMs = 0, reason } = rest.paused ? { delayMs: 0 } : await attemptOnce()
      endAttempt()
      await rest.take(delayMs, floorMs, (leftMs) => {
        if (rest.paused) setState('waiting', { reason: rest.paused })
        else if (reason !== undefined) setState('waiting', { reason, delayMs: leftMs })
      })
    }
  }

  async function attemptOnce(): Promise<Next> {
    attempt = new AbortController()
    const { signal } = attempt
    try {
      return await Promise.race([
        polling === undefined ? connect(signal) : poll(signal, polling),
        // Also out of what does not end by itself, such as a token that never comes.
        new Promise<never>((_, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
      ])
    } catch (error) {
      return afterFailure(signal.aborted ? signal.reason : error)
    }
  }

  function afterFailure(error: RetryableError): Next {
    const { pollUrl, streamRetryMs = 60_000 } = options
    if (error instanceof EventStreamError) close(error.message, error)
    if (error === INTERRUPTED || status.state === 'closed') return { delayMs: 0 }
    if (error === SWALLOWED && ++swallowed >= 2 && pollUrl !== undefined) {
      const delayMs = Math.min(LONGEST_STREAM_RETRY_MS, streamRetryMs * 2 ** streamTries++)
      polling = { url: at(pollUrl), reason: error.message, streamAt: performance.now() + delayMs }
      return { delayMs: 0 }
    }
    return backOff(error?.message ?? String(error), error?.afterMs)
  }

  function backOff(reason: string, floorMs = 0): Next {
    return { delayMs: Math.max(floorMs, reconnectDelay(retryMs, failures++)), floorMs, reason }
  }

  async function connect(signal: AbortSignal): Promise<Next> {
    await queue.room()
    signal.throwIfAborted()
    setState('connecting')
    farewell = undefined
    silenceMs = 0
    const target = new URL(base)
    if (window !== undefined) target.searchParams.set('window', String(window))
    const headers = await requests.authorize(target)
    signal.throwIfAborted()
    expectWithin(openTimeoutMs, SWALLOWED)
    await (transport === 'native' ? connectNative : connectFetch)({
      ...{ url: target, headers, cursor, signal, requests, options },
      room: queue.room,
      onAlive,
      onEvent: (event) => onEvent(signal, event),
      onId: (id) => {
        if (!signal.aborted) cursor = id
      },
      onRetry: (ms) => {
        retryMs = ms
      },
      onRead: (held) => expectWithin(held ? 0 : silenceMs, SILENT),
      types: [
        'message',
        ...CONTROL_TYPES.map((type) => `sse.${type}`),
        ...(options.eventTypes ?? []),
        ...listeners.types(),
      ],
      onListen: (listen) => {
        listenNative = listen
      },
    })
    return farewell ?? backOff('the connection ended')
  }

  function onAlive(): void {
    if (status.state !== 'connecting') return
    failures = 0
    swallowed = 0
    streamTries = 0
    setState('open')
  }

  async function poll(signal: AbortSignal, { url, reason, streamAt }: Polling): Promise<Next> {
    await queue.room()
    signal.throwIfAborted()
    if (status.state !== 'polling') setState('polling', { reason })
    const target = new URL(url)
    if (cursor !== '') target.searchParams.set('cursor', cursor)
    // Where the server has told the stream to poll, it has too much to do to hold requests.
    if (streamAt !== undefined) target.searchParams.set('wait', String(longPollMs))
    const headers = { Accept: JSON_TYPE, ...(await requests.authorize(target)) }
    signal.throwIfAborted()
    expectWithin(openTimeoutMs && longPollMs + openTimeoutMs, SILENT)
    const answer = (await (await requests.send(target, { headers, signal }, JSON_TYPE)).json()) as PollAnswer
    for (const event of answer.events) onEvent(signal, event)
    signal.throwIfAborted()
    cursor = answer.cursor
    failures = 0
    if (!answer.stream || (streamAt !== undefined && performance.now() < streamAt)) {
      return { delayMs: Math.max(answer.events.length > 0 ? 0 : SHORTEST_POLL_MS, answer.afterMs || 0) }
    }
    polling = undefined
    return { delayMs: 0 }
  }

  function onEvent(signal: AbortSignal, { event: type = 'message', data, id }: ReceivedEvent): void {
    // The rest of what came in one read: it comes again.
    if (signal.aborted) return
    // That of `sse.close` is no position: it is for clients that do not know the event.
    const position = type === 'sse.close' ? undefined : id
    if (position !== undefined) cursor = position
    const event = new ClientEvent(type, data, position ?? '')
    listeners.emit(event)
    if (!queue.push(event)) onHandled(event)
    if (type.startsWith('sse.')) onControl(type, event)
  }

  function onHandled(event: ClientEvent): void {
    guarded(() => event.id !== '' && acks.handled(event.id, options.latencyOf?.(event)), undefined)
  }

  function onControl(type: string, event: ClientEvent): void {
    const data = controlData(event)
    const { reason = type, afterMs = 0 } = data
    if (type === 'sse.open') {
      heartbeatMs = data.heartbeatMs ?? 0
      if (data.stream && data.window) acks.open(data.stream, data.window)
    } else if (type === 'sse.expired') {
      // The connection is about to end; coming back with the same token would only cost a 401.
      requests.expireToken()
    } else if (type === 'sse.reconnect') {
      farewell ??= { delayMs: afterMs, floorMs: afterMs, reason }
    } else if (type === 'sse.poll' && data.url !== undefined) {
      polling = { url: at(data.url), reason }
      farewell = { delayMs: afterMs, floorMs: afterMs }
      setState('polling', { reason })
    } else if (type === 'sse.close') {
      close(reason, endedError(reason))
    }
    // A native EventSource sees heartbeats only where they are events.
    if (type === 'sse.heartbeat' || transport !== 'native') silenceMs = heartbeatMs * SILENCE_FACTOR
  }

  const onAbort = (): void => close('aborted')
  if (window !== undefined && options.tokenIn === 'ticket') {
    throw new EventStreamError('ERR_SSE_OPTION_INVALID', 'A ticket is good for one GET: no window with it')
  }
  const stopWatching = watchPage(
    options.pauseWhenHiddenMs,
    (reason) => {
      rest.pause(reason)
      attempt.abort(INTERRUPTED)
    },
    rest.resume,
  )
  closing?.addEventListener('abort', onAbort)
  if (closing?.aborted) onAbort()
  else void run()

  return {
    get state() {
      return status.state
    },
    get status() {
      return status
    },
    get cursor() {
      return cursor
    },
    on(type, listener) {
      listenNative?.(type)
      return listeners.add(type, listener)
    },
    reconnect() {
      polling = undefined
      attempt.abort(INTERRUPTED)
      rest.skip()
    },
    close: () => close('closed'),
    [Symbol.asyncIterator]: queue.iterate,
  }
}

/** A stream that is complete has not failed. */
function endedError(reason: string): EventStreamError | undefined {
  return reason === 'completed' ? undefined : new EventStreamError('ERR_SSE_ENDED', reason)
}
