/**
 * The broker: a log for each channel, with publish and subscribe. Every implementation passes `test/suites/broker.ts`.
 */
import { randomBytes } from 'node:crypto'
import type { EncodedEvent, LogEntry } from '../core/message.js'
import type { Head, Position } from '../core/position.js'

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
   * What one process publishes on a channel keeps its order, whatever fails and is tried again.
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
  /**
   * Publishes what was taken, as far as that is possible within the command time-out, and closes. What was never written fails with
   * `ERR_SSE_CLOSED`, what was written and not answered with `ERR_SSE_BROKER_TIMEOUT`; offers are reported so. Idempotent.
   */
  close(): Promise<void>
}

/** A name for this process among those that share a broker, random. */
export function createProcessId(): string {
  return randomBytes(8).toString('hex')
}

/** Whether a text from outside may be one. */
export function isProcessId(text: string | undefined): text is string {
  return text !== undefined && /^[0-9a-f]{16}$/.test(text)
}
