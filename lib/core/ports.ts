/**
 * The interfaces through which the parts meet. Each states its guarantees; every implementation passes the suite of the
 * same name in test/suites.
 */
import type { Blocks } from './blocks.js'
import type { EncodedEvent, LogEntry } from './message.js'
import type { Head, Position } from './position.js'

/** Who a request comes from, as `authenticate()` found out. */
export interface Auth {
  readonly user: string
  readonly tenant: string
  /** When the token runs out, in ms since 1970. */
  readonly expiresAt: number
  /** All claims of the token. */
  readonly claims: Readonly<Record<string, unknown>>
}

/** A timer that has been set. `cancel` is idempotent. */
export interface Timer {
  cancel(): void
}

/** Time, so that tests can turn it. */
export interface Clock {
  /** Monotonic, in ms, from an arbitrary start. */
  now(): number
  /** Ms since 1970. */
  wallTime(): number
  /** Calls back once, at or a little after `delayMs` from now; any delay up to 2⁵³ ms. Does not keep the process alive. */
  after(delayMs: number, callback: () => void): Timer
}

/** What a log's history answers. Taken at one moment: `head` and `entries` belong together. */
export interface HistoryPage {
  /** Where the log stood. An epoch other than the one known means: ask for its head again. */
  readonly head: Position
  /** In order. Where an offset after `after` and up to `end` is missing, its entry is gone. */
  readonly entries: readonly LogEntry[]
  /** The last offset that the page says something about: the head's, or less where the page stopped at a bound. */
  readonly end: number
}

/** The most bytes of entries in one answer of `Broker.read`, unless a single entry is larger. */
export const READ_BYTES = 1_048_576

/** What a broker tells the one subscriber of a channel. Never called re-entrantly from `subscribe`. */
export interface ChannelListener {
  /** An entry arrived. Logged ones come in the log's order, but some may be missing after an interruption. */
  onEntry(entry: LogEntry): void
  /** The subscription was interrupted and is acknowledged again: entries may have been missed; `head` is the log now. */
  onResubscribed(head: Head): void
}

export interface PublishOptions {
  /**
   * 1 to 256 characters. Publishing twice with the same key within the broker's `idempotencyTtlMs` adds the event (or all of `publishMany`)
   * once; the second call gets the first one's position. Without effect on ephemeral events alone: they are in no log,
   * and one whose connection broke may reach streams twice.
   */
  readonly idempotencyKey?: string
}

export type BrokerState = 'connecting' | 'ready' | 'degraded' | 'closed'

/**
 * A log per channel, with publish/subscribe.
 *
 * Guarantees: `publish` is atomic: an entry gets the next offset, enters the history and goes out to subscribers as one
 * step, so subscribers see entries in offset order. Offsets are dense within an epoch. `<epoch>-<offset>` never names two
 * different events: a log that lost or may have lost entries goes on under a new epoch, and its head says of former ones
 * how far they are the same. Delivery to subscribers is at
 * most once; the history fills the holes. The history reaches back `historySize` entries at least, until
 * `historyTtlMs` after the last publish.
 */
export interface Broker {
  readonly kind: 'memory' | 'redis'
  /** Names this process to the others on the broker. */
  readonly processId: string
  readonly state: BrokerState
  /**
   * Resolves with the entry's position once the broker has it. Ephemeral events get offset 0.
   * @throws BrokerError within the command time-out; `ERR_SSE_BROKER_TIMEOUT` leaves open whether it was published
   */
  publish(channel: string, event: EncodedEvent, options?: PublishOptions): Promise<Position>
  /**
   * Publishes several as one step: all enter the log, next to each other and in this order, or none does.
   * @returns their positions, in the order of the events
   * @throws BrokerError as `publish`
   */
  publishMany(channel: string, events: readonly EncodedEvent[], options?: PublishOptions): Promise<readonly Position[]>
  /**
   * Publishes without an answer. What fails later is reported to diagnostics.
   * @returns whether it was taken; not if the broker is closed or too much waits for it
   */
  offer(channel: string, event: EncodedEvent): boolean
  /**
   * Resolves with the log's head *after* the subscription was acknowledged, so that every later entry reaches the
   * listener. One listener per channel; the caller counts references.
   */
  subscribe(channel: string, listener: ChannelListener): Promise<Head>
  /** Idempotent. No call reaches the listener afterwards. */
  unsubscribe(channel: string): Promise<void>
  /**
   * The entries after offset `after`, oldest first: at most `limit`, and as many as `maxBytes` hold, but at least one if there is any.
   * @param maxBytes @defaultValue `READ_BYTES`
   */
  read(channel: string, after: number, limit: number, maxBytes?: number): Promise<HistoryPage>
  /** Where the logs stand now. A log that does not exist yet is born, so that its epoch is known before its first event. */
  heads(channels: readonly string[]): Promise<readonly Head[]>
  /**
   * Sends a text to one process, or to all with `undefined`, this one included. At most once, and in no log.
   * @returns to how many processes it went: 0 if there is no such process
   * @throws BrokerError
   */
  signal(processId: string | undefined, text: string): Promise<number>
  /** Who gets the signals to this process. To be set once. */
  onSignal(listener: (text: string) => void): void
  /** Resolves if the broker serves now. @throws BrokerError within the command time-out */
  ping(): Promise<void>
  /** Idempotent. Pending commands fail with `ERR_SSE_CLOSED`. */
  close(): Promise<void>
}

/** A small key-value store with expiry: caches, one-use values, de-duplication. */
export interface KeyValueStore {
  /** The values in the order of the keys; `undefined` where there is none. One round trip. */
  get(keys: readonly string[]): Promise<readonly (string | undefined)[]>
  set(key: string, value: string, ttlMs: number): Promise<void>
  /** Sets only where nothing is set; `true` for exactly one of any number of concurrent callers. */
  claim(key: string, value: string, ttlMs: number): Promise<boolean>
  /** Gets and deletes as one step: exactly one of any number of concurrent callers has the value. */
  take(key: string): Promise<string | undefined>
  delete(key: string): Promise<void>
  /** Idempotent. Closes only what the store opened itself. */
  close(): Promise<void>
}

/**
 * Where a stream's bytes go, and its credit: what the socket takes and what pacing grants. After `write` or `spend` of one
 * event answered `false`, nothing more may be written until `onDrain`.
 */
export interface Sink {
  /** `false` while the socket is full, the stream is paced out, or it has ended. */
  readonly writable: boolean
  /** Whether what is in a log waits there; otherwise the sink queues it itself. */
  readonly replays: boolean
  /** It would rather give events up than be behind: what it has missed goes to its queue at once, credit or not. */
  readonly keepsUp: boolean
  /** Whether `spend` may refuse. Then it is best to write one event at a time. */
  readonly paced: boolean
  /**
   * Asks for leave to write events, all of them or none; what is granted must be written. Several may be refused where one
   * would not be. Control events need none.
   */
  spend(events: number, bytes: number): boolean
  /**
   * Writes whole blocks; they are taken in any case. Returns whether more may follow at once.
   * @param events how many events the blocks hold
   */
  write(blocks: Blocks, events: number): boolean
}

/** What a stream counts of itself: as it is now, or from its beginning. */
export interface StreamCounts {
  /** Events written, from the beginning. */
  readonly sent: number
  /** Events it owes its client from the log. */
  readonly lag: number
  /** Events that wait in its own queue. */
  readonly queued: number
  readonly queuedBytes: number
  /** How full that queue is, by events or bytes, whichever is more: 0 to 1. */
  readonly saturation: number
  /** Whether its socket takes no more. */
  readonly full: boolean
  /** Events and bytes for which its pacing gave tokens, from the beginning. */
  readonly pacedEvents: number
  readonly pacedBytes: number
}

/** Whoever feeds a stream from elsewhere. */
export interface StreamSource {
  /** Whether it owes the stream something. */
  readonly lagging: boolean
  /** How many events. */
  readonly lag: number
  /** The socket has room again, and what waited in the stream's own queue is out. */
  onDrain(): void
  /** Sends a little of what it owes, at most one write. @returns whether it sent something */
  sendSome(): boolean
  /** The stream has begun to close. Called once. */
  onClose(): void
}

/** What a trace is told of the way of events. Nothing of it may throw or wait, whatever becomes of the trace. */
export interface Tracing {
  /** Events are about to be published as one step. @returns `undefined` where that is not traced */
  publish(channel: string, events: number): PublishTrace | undefined
  /**
   * Entries of one channel were written to streams that were not behind.
   * @param beganAt when the first was, in ms since 1970
   */
  deliver(channel: string, entries: readonly LogEntry[], streams: number, beganAt: number): void
  /** A client has handled an entry, and all before it. */
  acknowledge(channel: string, entry: LogEntry, ack: { readonly stream: string; readonly latencyMs?: number }): void
}

export interface PublishTrace {
  /** What the events carry, so that their trace goes on where they arrive; see `EncodedEvent`. */
  readonly trace: string | undefined
  /** Published, or not: `error`. */
  end(error?: unknown): void
}
