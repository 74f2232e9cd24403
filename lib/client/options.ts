/** What a stream of the client can be told, and what it says. Types alone: the defaults are where they are used. */
import type { EventStreamError } from './error.js'
import type { ClientEvent, ClientListener } from './listeners.js'

/**
 * `polling`: the events come by polling for now, see `ClientOptions.pollUrl`; `waiting`: between connections, or paused;
 * `closed`: for good.
 */
export type ClientState = 'connecting' | 'open' | 'polling' | 'waiting' | 'closed'

/** The state of a stream of the client, and why it has it. */
export interface ClientStateChange {
  /** The state that the stream is in now. */
  readonly state: ClientState
  /** Why, where there is a reason: a control event's, a status, a network error, `offline`, `hidden`, `frozen`. */
  readonly reason?: string
  /** In state `waiting`: how long. Left out while it is paused. */
  readonly delayMs?: number
  /** In state `closed`: what ended it, unless it was you, or the stream is complete (`reason: 'completed'`). */
  readonly error?: EventStreamError
}

/**
 * Gives the token, or with `tokenIn: 'ticket'` a ticket, for a request to `url`.
 * @param refresh the server no longer takes the last one
 */
export type TokenProvider = (refresh: boolean, url: string) => string | undefined | Promise<string | undefined>

/** All times in ms. */
export interface ClientOptions {
  /**
   * Asked before every request. After a 401, and after the server has said that the token ran out, asked for a fresh one.
   * Where it fails it is asked again, with back-off. @defaultValue none: cookies, or nothing
   */
  readonly token?: TokenProvider | undefined
  /**
   * Where the token goes: the Authorization header, `?token=`, or `?ticket=` for one that is good once. @defaultValue
   * 'header', with `native` 'token'
   */
  readonly tokenIn?: 'header' | 'token' | 'ticket' | undefined
  /** Where to begin: the `cursor` a list was loaded with. @defaultValue where the log stands */
  readonly cursor?: string | undefined
  /** Told of every change of state, the first `connecting` included. */
  readonly onState?: ((change: ClientStateChange) => void) | undefined
  /** Closes the stream when it aborts. */
  readonly signal?: AbortSignal | undefined
  /**
   * `native`: the browser's EventSource, where `fetch` cannot stream. It cannot send headers, and sees neither `retry:` nor the
   * status of a refusal, so it tries again whatever that was. @defaultValue 'fetch'
   */
  readonly transport?: 'fetch' | 'native' | undefined
  /**
   * `native` alone: types that `*`, the iterator, shared streams and hooks hear, since EventSource has no `*`. Of a stream of one's
   * own also those listened to by name.
   */
  readonly eventTypes?: readonly string[] | undefined
  /** As with `fetch`. @defaultValue 'same-origin' */
  readonly credentials?: RequestCredentials | undefined
  /** The `fetch` to use, for headers of your own or a mock. @defaultValue the global one */
  readonly fetch?: typeof fetch | undefined
  /** Before the next connection after a failure, until the server says another (`retry:`); it doubles up to 30 s. @defaultValue 3000 */
  readonly retryMs?: number | undefined
  /** At least this long before the next attempt after a 401. @defaultValue 3000 */
  readonly tokenRetryMs?: number | undefined
  /**
   * Where no byte comes for so long after a request, something on the way holds the stream back. For servers that say
   * nothing before their first event: 0, never. @defaultValue 10_000
   */
  readonly openTimeoutMs?: number | undefined
  /**
   * Where to poll, relative to the stream's URL, once a stream has been held back twice in a row. (Where the server moves a
   * stream to polling, it says itself where.) @defaultValue nowhere: the stream is tried again
   */
  readonly pollUrl?: string | undefined
  /** How long the answer to such a poll may wait for an event. @defaultValue 20_000 */
  readonly longPollMs?: number | undefined
  /** While it polls so, after how long the stream is tried again; it doubles up to 10 min. @defaultValue 60_000 */
  readonly streamRetryMs?: number | undefined
  /**
   * Opens the stream with `?window=`: the server sends so many events beyond those acknowledged, and what listeners and the
   * iterator have handled is acknowledged. Not with `tokenIn: 'ticket'`. @defaultValue none
   */
  readonly window?: number | undefined
  /** Where to acknowledge, relative to the stream's URL. @defaultValue 'ack' */
  readonly ackUrl?: string | undefined
  /** An acknowledgement waits for more so long, unless half the window is unacknowledged. @defaultValue 1000 */
  readonly ackMs?: number | undefined
  /** How long the event took from its making until now, for acknowledgements. @defaultValue not said */
  readonly latencyOf?: ((event: ClientEvent) => number | undefined) | undefined
  /**
   * Events that may wait for the iterator; then reading stops until it has caught up. What came in one read is kept whole, so
   * it may be exceeded by that. @defaultValue 256
   */
  readonly bufferEvents?: number | undefined
  /** An event of more characters ends the stream (`ERR_SSE_EVENT_TOO_LARGE`). `fetch` alone. @defaultValue 2_097_152 */
  readonly maxEventChars?: number | undefined
  /** Closes the connection once the page has been hidden for so long, until it is seen again. @defaultValue never */
  readonly pauseWhenHiddenMs?: number | undefined
}

/** What a map of events says of a type: `ClientEvent.json()` returns it. */
type DataOf<Events, Type> = Type extends keyof Events ? Events[Type] : unknown

/** What a stream of one's own and a shared one have in common. */
export interface Listenable<Events extends object = Record<string, unknown>> {
  /** The state now. */
  readonly state: ClientState
  /** The last change of state: a new object with each. */
  readonly status: ClientStateChange
  /** The position after the last event had. */
  readonly cursor: string
  /**
   * Listens to one type of event; `*` hears all, control events included. What a listener throws is reported as uncaught,
   * and the stream goes on. @returns the way to stop
   */
  on<Type extends string>(type: Type, listener: ClientListener<DataOf<Events, Type>>): () => void
  /** Connects now, without waiting any longer; from polling, back to the stream. Nothing once it has ended. */
  reconnect(): void
  /** Ends it for good. Idempotent. */
  close(): void
}

/** A stream of the client: events to listen to, or to iterate over. */
export interface ClientStream<Events extends object = Record<string, unknown>>
  extends Listenable<Events>,
    AsyncIterable<ClientEvent> {
  /**
   * What `*` hears, one after the other, from the first `next()` on; reading stops while the consumer is behind. One
   * iteration at a time. Ends when the stream is closed, with its error where that has one.
   */
  [Symbol.asyncIterator](): AsyncGenerator<ClientEvent, void, void>
}
