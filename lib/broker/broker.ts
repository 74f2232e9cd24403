/**
 * The broker: a log for each channel, with publish and subscribe. Every implementation passes `test/suites/broker.ts`.
 */
import { randomBytes } from 'node:crypto'
import { SseError } from '../core/errors.js'
import type { EncodedEvent, LogEntry } from '../core/message.js'
import type { Head, Position } from '../core/position.js'

/** One page of a log's history. `head` and `entries` were read at the same moment. */
export interface HistoryPage {
  /** Where the log ended. If the epoch is not the expected one, the caller must request the head again (`heads`). */
  readonly head: Position
  /** In order. If an offset after `after` and up to `end` is missing, its entry no longer exists. */
  readonly entries: readonly LogEntry[]
  /** The last offset that the page covers: the offset of `head`, or less if the page reached a limit. */
  readonly end: number
}

/** The maximum bytes of entries in one page of `Broker.read`, unless a single entry is larger. */
export const READ_BYTES = 1_048_576

/** The one subscriber of a channel in this process. The broker never calls it during `subscribe`. */
export interface ChannelListener {
  /** An entry arrived. Logged entries arrive in the log's order, but some may be missing after an interruption. */
  onEntry(entry: LogEntry): void
  /** The log has ended at `position`: entries up to it may still be missing, and none follow. */
  onEnded(position: Position): void
  /**
   * The subscription is active again after an interruption. Entries may have been missed. `head`: where the log ends
   * now.
   */
  onResubscribed(head: Head): void
}

/** Options of one publish call. */
export interface PublishOptions {
  /**
   * 1 to 256 characters. A second publish with the same key within `idempotencyTtlMs` adds no event (`publishMany`:
   * none of its events) and returns the position of the first. Has no effect on ephemeral events: they are in no log,
   * so an event whose connection was lost may reach streams twice.
   */
  readonly idempotencyKey?: string
}

/** State of a broker's connection: `degraded` after a failure, until it is restored; `closed`: permanently. */
export type BrokerState = 'connecting' | 'ready' | 'degraded' | 'closed'

/**
 * A log per channel, with publish/subscribe. Guarantees:
 * - `publish` is atomic: an entry gets the next offset, enters the history and is sent to subscribers as one step, so
 *   subscribers receive entries in offset order.
 * - Offsets are dense within an epoch, and `<epoch>-<offset>` never names two different events. A log that lost
 *   entries, or may have, continues under a new epoch; its head lists the earlier epochs and up to where the log is the
 *   same.
 * - Delivery to subscribers is at most once. Missed entries are in the history, which keeps at least `historySize`
 *   entries, until `historyTtlMs` after the last publish.
 */
export interface Broker {
  readonly kind: 'memory' | 'redis'
  /** Identifies this process among those that use the broker. */
  readonly processId: string
  readonly state: BrokerState
  /**
   * Resolves with the entry's position once the broker has stored it. Ephemeral events get offset 0.
   * Events that one process publishes on a channel keep their order, also across failures and retries.
   * @throws BrokerError within the command time-out. After `ERR_SSE_BROKER_TIMEOUT` the event may have been published.
   * @throws SseError `ERR_SSE_CHANNEL_ENDED`. In Redis an event that is only ephemeral is not refused, and reaches nobody
   */
  publish(channel: string, event: EncodedEvent, options?: PublishOptions): Promise<Position>
  /**
   * Publishes several events as one step: all of them enter the log, adjacent and in this order, or none does.
   * @returns the positions, in the order of the events
   * @throws BrokerError like `publish`
   */
  publishMany(channel: string, events: readonly EncodedEvent[], options?: PublishOptions): Promise<readonly Position[]>
  /**
   * Ends the log for good, after the last event if one is given, as one step, and notifies the subscribers. Later events
   * for the log are refused. If the log has ended before, nothing changes, and the subscribers may be notified again.
   * @returns where the log ended
   * @throws BrokerError like `publish`
   */
  end(channel: string, last?: EncodedEvent): Promise<Position>
  /**
   * Publishes without a result. A later failure is reported to diagnostics.
   * @returns whether the event was accepted; `false` if the broker is closed or too many events wait
   */
  offer(channel: string, event: EncodedEvent): boolean
  /**
   * Resolves with the log's head *after* the subscription was acknowledged, so every later entry reaches the listener.
   * One listener per channel: the caller counts references.
   */
  subscribe(channel: string, listener: ChannelListener): Promise<Head>
  /**
   * Ends the subscription of this listener, which is not called afterwards. Does nothing if another listener has
   * replaced it. Idempotent.
   */
  unsubscribe(channel: string, listener: ChannelListener): Promise<void>
  /**
   * Returns the entries after offset `after`, oldest first: at most `limit`, and at most `maxBytes` of them, but at
   * least one entry if there is one.
   * @param maxBytes @defaultValue `READ_BYTES`
   */
  read(channel: string, after: number, limit: number, maxBytes?: number): Promise<HistoryPage>
  /**
   * Returns where the logs end now. Creates a log that does not exist, so its epoch is known before its first event.
   */
  heads(channels: readonly string[]): Promise<readonly Head[]>
  /**
   * Sends a text to one process, or with `undefined` to all, including this one. Delivery is at most once; no log keeps
   * it.
   * @returns the number of processes that received it; 0 if there is no such process
   * @throws BrokerError
   */
  signal(processId: string | undefined, text: string): Promise<number>
  /** Sets the listener for the signals to this process. Must be called at most once. */
  onSignal(listener: (text: string) => void): void
  /** Resolves if the broker is available. @throws BrokerError within the command time-out */
  ping(): Promise<void>
  /**
   * Publishes what was accepted, as far as possible within the command time-out, and closes. A publish that was never
   * written rejects with `ERR_SSE_CLOSED`, one that was written and got no reply with `ERR_SSE_BROKER_TIMEOUT`. The
   * same errors are reported for events given to `offer`. Idempotent.
   */
  close(): Promise<void>
}

/** A random id for this process. */
export function createProcessId(): string {
  return randomBytes(8).toString('hex')
}

/** Whether an untrusted text has the form of a process id. */
export function isProcessId(text: string | undefined): text is string {
  return text !== undefined && /^[0-9a-f]{16}$/.test(text)
}

/** The error for an event that is published on a channel that has ended. */
export function channelEnded(channel: string): SseError {
  return new SseError(
    'ERR_SSE_CHANNEL_ENDED',
    `The channel ${channel} has ended: nothing can be published on it any more`,
  )
}
