/**
 * One stream in a browser: kept open until it is closed, or refused with a status that does not allow a retry. Owns
 * what follows each attempt. No Node imports.
 *
 * ```
 *   connecting ──first byte──► open ──ended, silent──► waiting ──► connecting …
 *       │ no data, twice         │ sse.poll               ▲
 *       └────────► polling ◄─────┘                        │ failed
 *                    └── an answer allows the stream, or the retry time is reached ──► connecting
 *   any ── close(), sse.close, a refusal without retry ──► closed
 * ```
 */

import type { Ack, PollAnswer } from '../wire/contract.js'
import type { ReceivedEvent } from '../wire/parse.js'
import { createAckBatcher } from './acks.js'
import { createAttempt, INTERRUPTED, NO_DATA, SILENT } from './attempt.js'
import { CONTROL_NAMES, controlData } from './control.js'
import { EventStreamError } from './error.js'
import { createEventQueue } from './event-queue.js'
import { connectFetch } from './fetch-transport.js'
import { ClientEvent, callSafely, createEventListeners } from './listeners.js'
import { connectNative } from './native-transport.js'
import type { ClientOptions, ClientState, ClientStateChange, ClientStream } from './options.js'
import { watchPage } from './page-life.js'
import { createRequests, type RetryableError } from './requests.js'
import { createRetryDelay, reconnectDelay } from './retry-delay.js'

/** The delay before the next attempt. */
interface NextAttempt {
  readonly delayMs: number
  /** The part of the delay that the server requested. */
  readonly floorMs?: number
  /** The reason for the state `waiting`. Absent: the state does not change. */
  readonly reason?: string
}

interface Polling {
  readonly url: URL
  readonly reason: string
  /** When to try the stream again, in ms by the monotonic clock; `undefined`: when a poll answer allows it. */
  readonly streamAt?: number
}

const JSON_TYPE = 'application/json'
/** After this many heartbeat intervals without data the connection is treated as lost. */
const SILENCE_FACTOR = 2.5
const MAX_STREAM_RETRY_MS = 600_000
/** The minimum delay after a poll without events, for servers that answer immediately with `afterMs` 0. */
const MIN_POLL_MS = 200

/**
 * Opens a stream and reconnects it until `close()`, or until the server refuses it with a status that does not allow a
 * retry. Returns immediately; failures are reported as state changes.
 * @param url relative to the page, or absolute
 * @throws EventStreamError `ERR_SSE_OPTION_INVALID` for `window` together with `tokenIn: 'ticket'`
 */
export function createEventStream<Events extends object = Record<string, unknown>>(
  url: string,
  options: ClientOptions = {},
): ClientStream<Events> {
  const { signal: closeSignal, transport, window, openTimeoutMs = 10_000, longPollMs = 20_000 } = options
  const base = new URL(url, globalThis.location?.href)
  const resolveUrl = (relative: string): URL => new URL(relative, base)
  const listeners = createEventListeners()
  const requests = createRequests(options)
  const retryDelay = createRetryDelay()
  const queue = createEventQueue(options.bufferEvents ?? 256, onHandled)
  const acks = createAckBatcher(options.ackMs ?? 1000, async (ack) => {
    const target = resolveUrl(options.ackUrl ?? 'ack')
    const headers = { 'Content-Type': JSON_TYPE, ...(await requests.authorize(target, 'header')) }
    const body = JSON.stringify({ ...ack, buffer: queue.fullness() } satisfies Ack)
    return requests.send(target, { method: 'POST', headers, body })
  })
  let status: ClientStateChange = { state: 'connecting' }
  let cursor = options.cursor ?? ''
  let { retryMs = 3000 } = options
  /** Failed attempts in a row. */
  let failures = 0
  /** Attempts in a row that received no byte. */
  let emptyAttempts = 0
  /** How often the stream was tried while polling replaces it. */
  let streamTries = 0
  let polling: Polling | undefined
  let attempt = createAttempt()
  let heartbeatMs = 0
  let silenceMs = 0
  /** The next attempt as the server requested it, in `sse.reconnect` or `sse.poll`. */
  let requestedNext: NextAttempt | undefined
  let listenNative: ((type: string) => void) | undefined

  function setState(state: ClientState, more: Omit<ClientStateChange, 'state'> = {}): void {
    if (status.state === 'closed') return
    status = { state, ...more }
    callSafely(options.onState, status)
  }

  function close(reason: string, error?: EventStreamError): void {
    if (status.state === 'closed') return
    setState('closed', { reason, ...(error && { error }) })
    stopWatching()
    closeSignal?.removeEventListener('abort', onAbort)
    endAttempt()
    queue.end(error)
    retryDelay.end()
  }

  function endAttempt(): void {
    acks.close()
    attempt.abort(INTERRUPTED)
  }

  async function run(): Promise<void> {
    while (status.state !== 'closed') {
      const { delayMs, floorMs = 0, reason } = retryDelay.paused ? { delayMs: 0 } : await attemptOnce()
      endAttempt()
      await retryDelay.wait(delayMs, floorMs, (leftMs) => {
        if (retryDelay.paused) setState('waiting', { reason: retryDelay.paused })
        else if (reason !== undefined) setState('waiting', { reason, delayMs: leftMs })
      })
    }
  }

  async function attemptOnce(): Promise<NextAttempt> {
    attempt = createAttempt()
    const { signal } = attempt
    try {
      return await attempt.race(polling === undefined ? connect(signal) : poll(signal, polling))
    } catch (error) {
      return afterFailure(signal.aborted ? signal.reason : error)
    }
  }

  function afterFailure(error: RetryableError): NextAttempt {
    const { pollUrl, streamRetryMs = 60_000 } = options
    if (error instanceof EventStreamError) close(error.message, error)
    if (error === INTERRUPTED || status.state === 'closed') return { delayMs: 0 }
    if (error === NO_DATA && ++emptyAttempts >= 2 && pollUrl !== undefined) {
      const delayMs = Math.min(MAX_STREAM_RETRY_MS, streamRetryMs * 2 ** streamTries++)
      polling = { url: resolveUrl(pollUrl), reason: error.message, streamAt: performance.now() + delayMs }
      return { delayMs: 0 }
    }
    return backOff(error?.message ?? String(error), error?.afterMs)
  }

  function backOff(reason: string, floorMs = 0): NextAttempt {
    return { delayMs: Math.max(floorMs, reconnectDelay(retryMs, failures++)), floorMs, reason }
  }

  async function connect(signal: AbortSignal): Promise<NextAttempt> {
    // Also without a wait this is one turn, so that a stream that is closed immediately requests no token.
    await queue.room()
    signal.throwIfAborted()
    setState('connecting')
    requestedNext = undefined
    silenceMs = 0
    const target = new URL(base)
    if (window !== undefined) target.searchParams.set('window', String(window))
    const headers = await requests.authorize(target)
    signal.throwIfAborted()
    attempt.abortAfter(openTimeoutMs, NO_DATA)
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
      onRead: (isPaused) => attempt.abortAfter(isPaused ? 0 : silenceMs, SILENT),
      types: ['message', ...CONTROL_NAMES, ...(options.eventTypes ?? []), ...listeners.types()],
      onListen: (listen) => {
        listenNative = listen
      },
    })
    return requestedNext ?? backOff('the connection ended')
  }

  function onAlive(): void {
    if (status.state !== 'connecting') return
    failures = 0
    emptyAttempts = 0
    streamTries = 0
    setState('open')
  }

  async function poll(signal: AbortSignal, current: Polling): Promise<NextAttempt> {
    await queue.room()
    signal.throwIfAborted()
    const { reason, streamAt } = current
    if (status.state !== 'polling') setState('polling', { reason })
    const answer = await requestPoll(signal, current)
    for (const event of answer.events) onEvent(signal, event)
    // As on a stream: the position before the first event.
    if (cursor === '') onEvent(signal, { event: 'sse.open', data: '{}', id: answer.cursor })
    signal.throwIfAborted()
    cursor = answer.cursor
    failures = 0
    if (answer.ended === true) {
      close('completed')
      return { delayMs: 0 }
    }
    if (!answer.stream || (streamAt !== undefined && performance.now() < streamAt)) {
      return { delayMs: Math.max(answer.events.length > 0 ? 0 : MIN_POLL_MS, answer.afterMs || 0) }
    }
    polling = undefined
    return { delayMs: 0 }
  }

  async function requestPoll(signal: AbortSignal, { url, streamAt }: Polling): Promise<PollAnswer> {
    const target = new URL(url)
    if (cursor !== '') target.searchParams.set('cursor', cursor)
    // No long polls after `sse.poll`: that server is overloaded and should not hold requests. And none before there is
    // a cursor: if such a poll failed, the next one would begin at a later position.
    if (streamAt !== undefined) target.searchParams.set('wait', String(cursor === '' ? 1 : longPollMs))
    const headers = { Accept: JSON_TYPE, ...(await requests.authorize(target)) }
    signal.throwIfAborted()
    attempt.abortAfter(openTimeoutMs && longPollMs + openTimeoutMs, SILENT)
    return (await requests.send(target, { headers, signal }, JSON_TYPE)).json()
  }

  function onEvent(signal: AbortSignal, { event: type = 'message', data, id }: ReceivedEvent): void {
    // The read brought more events. The next connection resumes before them, so they are sent again.
    if (signal.aborted) return
    // The id of `sse.close` is not a position; it is for clients that do not know the event.
    const position = type === 'sse.close' ? undefined : id
    if (position !== undefined) cursor = position
    const event = new ClientEvent(type, data, position ?? '')
    listeners.emit(event)
    if (!queue.push(event)) onHandled(event)
    if (type.startsWith('sse.')) onControl(type, event)
  }

  function onHandled(event: ClientEvent): void {
    callSafely(() => event.id !== '' && acks.handled(event.id, options.latencyOf?.(event)), undefined)
  }

  function onControl(type: string, event: ClientEvent): void {
    const data = controlData(event)
    const { reason = type, afterMs = 0 } = data
    if (type === 'sse.open') {
      heartbeatMs = data.heartbeatMs ?? 0
      if (data.stream && data.window) acks.open(data.stream, data.window)
    } else if (type === 'sse.expired') {
      // The server ends the connection next. A reconnect with the same token would get a 401.
      requests.expireToken()
    } else if (type === 'sse.reconnect') {
      requestedNext ??= { delayMs: afterMs, floorMs: afterMs, reason }
    } else if (type === 'sse.poll' && data.url !== undefined) {
      polling = { url: resolveUrl(data.url), reason }
      requestedNext = { delayMs: afterMs, floorMs: afterMs }
      setState('polling', { reason })
    } else if (type === 'sse.close') {
      close(reason, errorOf(reason))
    }
    // A native EventSource reports only heartbeats that are events. Without them silence is not a failure.
    if (type === 'sse.heartbeat' || transport !== 'native') silenceMs = heartbeatMs * SILENCE_FACTOR
  }

  const onAbort = (): void => close('aborted')
  if (window !== undefined && options.tokenIn === 'ticket') {
    throw new EventStreamError(
      'ERR_SSE_OPTION_INVALID',
      "window needs more than one request, and a ticket is valid for one GET; use tokenIn 'header' or 'token'",
    )
  }
  const stopWatching = watchPage(
    options.pauseWhenHiddenMs,
    (reason) => {
      retryDelay.pause(reason)
      attempt.abort(INTERRUPTED)
    },
    retryDelay.resume,
  )
  closeSignal?.addEventListener('abort', onAbort)
  if (closeSignal?.aborted) onAbort()
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
      retryDelay.end()
    },
    close: () => close('closed'),
    [Symbol.asyncIterator]: queue.iterate,
  }
}

/** A completed stream has no error. */
function errorOf(reason: string): EventStreamError | undefined {
  return reason === 'completed' ? undefined : new EventStreamError('ERR_SSE_ENDED', reason)
}
