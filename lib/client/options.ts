/** The options and the interface of a client stream. Types only: the defaults are in the code that uses them. */
import type { EventStreamError } from './error.js'
import type { ClientEvent, ClientListener } from './listeners.js'

/**
 * - `connecting`: a request was sent, no data has arrived yet
 * - `open`: the stream delivers events
 * - `polling`: polling replaces the stream for now, see `ClientOptions.pollUrl`
 * - `waiting`: between two attempts, or paused
 * - `closed`: ended, without another attempt
 */
export type ClientState = 'connecting' | 'open' | 'polling' | 'waiting' | 'closed'

/** The state of a stream of the client, and why it has it. */
export interface ClientStateChange {
  /** The state that the stream is in now. */
  readonly state: ClientState
  /**
   * The reason, if there is one: from a control event, a status (`HTTP 503`), a network error, `offline`, `hidden`,
   * `frozen`.
   */
  readonly reason?: string
  /** In state `waiting`: the time until the next attempt, in ms. Absent while the stream is paused. */
  readonly delayMs?: number
  /** In state `closed`: the error that ended the stream. Absent after `close()`, and if the stream is completed. */
  readonly error?: EventStreamError
}

/**
 * Returns the token for a request to `url`, or with `tokenIn: 'ticket'` a ticket.
 * @param refresh whether the server no longer accepts the last token
 */
export type TokenProvider = (refresh: boolean, url: string) => string | undefined | Promise<string | undefined>

/** All times are in ms. */
export interface ClientOptions {
  /**
   * Called before every request, with `refresh` after a 401 and after the server reported that the token expired. If it
   * rejects, it is called again with the back-off of `retryMs`.
   * @defaultValue no token; cookies are sent according to `credentials`
   */
  readonly token?: TokenProvider | undefined
  /**
   * Where the token is sent: in the Authorization header, as `?token=`, or as `?ticket=` for a ticket, which is valid
   * once.
   * @defaultValue 'header'; 'token' with `transport: 'native'`
   */
  readonly tokenIn?: 'header' | 'token' | 'ticket' | undefined
  /**
   * The cursor to start from, for example the `cursor` of a list that was loaded.
   * @defaultValue the current head of the logs
   */
  readonly cursor?: string | undefined
  /** Called with every change of state, including the first `connecting`. */
  readonly onState?: ((change: ClientStateChange) => void) | undefined
  /** Closes the stream when it aborts. */
  readonly signal?: AbortSignal | undefined
  /**
   * `native`: the browser's EventSource, for environments in which `fetch` cannot stream. It cannot send headers and
   * reports neither `retry:` nor the status of a refusal, so it retries after every refusal.
   * @defaultValue 'fetch'
   */
  readonly transport?: 'fetch' | 'native' | undefined
  /**
   * With `native` only: the event types for `*`, the iterator, shared streams and hooks, because EventSource has no
   * `*`. A stream also receives the types to which it has listeners.
   * @defaultValue none
   */
  readonly eventTypes?: readonly string[] | undefined
  /** As in `fetch`. @defaultValue 'same-origin' */
  readonly credentials?: RequestCredentials | undefined
  /** The `fetch` to use, for example to add headers, or a mock. @defaultValue the global one */
  readonly fetch?: typeof fetch | undefined
  /**
   * The delay before the next attempt after a failure, until the server sends another one (`retry:`). Doubles with each
   * failure in a row, up to 30 s.
   * @defaultValue 3000
   */
  readonly retryMs?: number | undefined
  /** The minimum delay before the next attempt after a 401. @defaultValue 3000 */
  readonly tokenRetryMs?: number | undefined
  /**
   * If no byte arrives for this long after a request, the attempt fails: an intermediary may buffer the stream. 0: no
   * limit, for servers that send nothing before their first event.
   * @defaultValue 10_000
   */
  readonly openTimeoutMs?: number | undefined
  /**
   * Where to poll, relative to the stream's URL, after two attempts in a row without data. (A server that moves a
   * stream to polling sends the URL itself.)
   * @defaultValue none: the stream is retried
   */
  readonly pollUrl?: string | undefined
  /** How long the answer to a poll at `pollUrl` may wait for an event. @defaultValue 20_000 */
  readonly longPollMs?: number | undefined
  /**
   * While the client polls at `pollUrl`: when it retries the stream. Doubles with each retry, up to 10 min.
   * @defaultValue 60_000
   */
  readonly streamRetryMs?: number | undefined
  /**
   * Opens the stream with `?window=`: the server sends this many events beyond the last acknowledged one. The client
   * acknowledges what listeners and the iterator have handled. Not with `tokenIn: 'ticket'`.
   * @defaultValue no acknowledgements
   */
  readonly window?: number | undefined
  /** Where to acknowledge, relative to the stream's URL. @defaultValue 'ack' */
  readonly ackUrl?: string | undefined
  /**
   * The maximum delay of an acknowledgement. Sent earlier if half of the window is unacknowledged.
   * @defaultValue 1000
   */
  readonly ackMs?: number | undefined
  /**
   * Returns the time from the creation of the event until now, for acknowledgements.
   * @defaultValue acknowledgements omit it
   */
  readonly latencyOf?: ((event: ClientEvent) => number | undefined) | undefined
  /**
   * How many events may wait for the iterator. Then the client stops reading until the consumer catches up. The events
   * of one read are always queued together, so the limit can be exceeded by one read.
   * @defaultValue 256
   */
  readonly bufferEvents?: number | undefined
  /**
   * An event with more characters ends the stream (`ERR_SSE_EVENT_TOO_LARGE`). With `fetch` only.
   * @defaultValue 2_097_152
   */
  readonly maxEventChars?: number | undefined
  /**
   * Closes the connection when the page has been hidden for this long; reconnects when it is visible.
   * @defaultValue never
   */
  readonly pauseWhenHiddenMs?: number | undefined
}

/** The common interface of a stream and a shared stream. */
export interface Listenable<Events extends object = Record<string, unknown>> {
  /** The state now. */
  readonly state: ClientState
  /** The last change of state. A new object after each change. */
  readonly status: ClientStateChange
  /** The cursor after the last received event. */
  readonly cursor: string
  /**
   * Listens to one type of event; `*` listens to all, including control events. An error thrown by a listener is
   * reported as uncaught and does not end the stream.
   * @returns removes the listener
   */
  on<Type extends string>(
    type: Type,
    listener: ClientListener<Type extends keyof Events ? Events[Type] : unknown>,
  ): () => void
  /**
   * Connects immediately, without the remaining delay. Ends polling and returns to the stream. Does nothing after the
   * end.
   */
  reconnect(): void
  /** Ends the stream without another attempt. Idempotent. */
  close(): void
}

/** A stream of the client: events to listen to, or to iterate over. */
export interface ClientStream<Events extends object = Record<string, unknown>>
  extends Listenable<Events>,
    AsyncIterable<ClientEvent> {
  /**
   * Iterates over the events that `*` receives, from the first `next()` on. The client stops reading while the consumer
   * lags. Ends when the stream is closed; rejects with the stream's error if it has one.
   * @throws TypeError during another iteration of the same stream
   */
  [Symbol.asyncIterator](): AsyncGenerator<ClientEvent, void, void>
}
