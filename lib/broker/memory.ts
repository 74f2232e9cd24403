/**
 * publish ─► encode once ─► **broker** ─► multiplexer: the embedded broker. Owns the logs, which behave like those in
 * Redis but exist only as long as this process, and their bounds in number and bytes. Must not know streams or HTTP.
 */

import type { Clock, Timer } from '../core/clock.js'
import { compositeKey } from '../core/composite-key.js'
import { reportPublishError } from '../core/diagnostics.js'
import { BrokerError } from '../core/errors.js'
import type { EncodedEvent, LogEntry } from '../core/message.js'
import { createEpoch, type Head, type Position, positionsUpTo } from '../core/position.js'
import { Ring } from '../core/ring.js'
import {
  type Broker,
  type BrokerState,
  type ChannelListener,
  channelEnded,
  createProcessId,
  type HistoryPage,
  type PublishOptions,
  READ_BYTES,
} from './broker.js'
import {
  type HistoryOptions,
  type ResolvedHistoryOptions,
  type ResolvedRetention,
  resolveHistoryOptions,
} from './options.js'

const SWEEP_MS = 10_000
const MAX_IDEMPOTENCY_KEYS = 100_000

/** The approximate cost of an entry in addition to its body. */
const ENTRY_BYTES = 200
/**
 * The share of a bound that an eviction keeps. Each eviction steps over all logs that must stay, so it frees more than
 * is needed now.
 */
const KEPT_BY_EVICTION = 0.9

interface MemoryLog {
  readonly channel: string
  readonly retention: ResolvedRetention
  readonly epoch: string
  offset: number
  /** The last `historySize` entries; the newest has offset `offset`. */
  readonly entries: Ring<LogEntry>
  /** When the last entry was published, in monotonic ms. */
  publishedAt: number
  /** When the log was last used, in monotonic ms. */
  touchedAt: number
  ended: boolean
}

interface Publication {
  readonly position: Position
  readonly expiresAt: number
}

export class MemoryBroker implements Broker {
  readonly kind = 'memory'
  readonly processId = createProcessId()
  readonly #options: ResolvedHistoryOptions
  readonly #clock: Clock
  /** Least recently used first. */
  readonly #logs = new Map<string, MemoryLog>()
  /** The last log in `#logs`. A log that is used repeatedly is not moved there again. */
  #lastUsed: MemoryLog | undefined
  /** The cost of all entries of all logs. */
  #bytes = 0
  readonly #listeners = new Map<string, ChannelListener>()
  /** Keyed by channel and idempotency key. Oldest first, because all keys have the same lifetime. */
  readonly #publications = new Map<string, Publication>()
  #onSignal: ((text: string) => void) | undefined
  #sweeper: Timer | undefined
  #state: BrokerState = 'ready'

  constructor(options: HistoryOptions, clock: Clock) {
    this.#options = resolveHistoryOptions(options)
    this.#clock = clock
  }

  get state(): BrokerState {
    return this.#state
  }

  async publish(channel: string, event: EncodedEvent, options?: PublishOptions): Promise<Position> {
    const [position] = await this.publishMany(channel, [event], options)
    return position as Position
  }

  async publishMany(
    channel: string,
    events: readonly EncodedEvent[],
    { idempotencyKey }: PublishOptions = {},
  ): Promise<readonly Position[]> {
    this.#assertOpen()
    const log = this.#openLog(channel)
    const keyed = idempotencyKey !== undefined && events.some(({ ephemeral }) => !ephemeral)
    const publicationKey = keyed ? compositeKey(channel, idempotencyKey) : undefined
    const earlier = publicationKey && this.#earlierPublication(publicationKey)
    if (earlier) return positionsUpTo(earlier, events)
    if (log.ended) throw channelEnded(channel)
    const now = this.#clock.wallTime()
    for (const event of events) this.#append(channel, log, event, now)
    if (publicationKey) this.#rememberPublication(publicationKey, positionOf(log))
    return positionsUpTo(positionOf(log), events)
  }

  async end(channel: string, last?: EncodedEvent): Promise<Position> {
    this.#assertOpen()
    const log = this.#openLog(channel)
    if (!log.ended) {
      if (last !== undefined) this.#append(channel, log, last, this.#clock.wallTime())
      log.ended = true
      this.#listeners.get(channel)?.onEnded(positionOf(log))
    }
    return positionOf(log)
  }

  offer(channel: string, event: EncodedEvent): boolean {
    if (this.#state === 'closed') return false
    const log = this.#openLog(channel)
    if (log.ended) reportPublishError(channel, 1, channelEnded(channel))
    else this.#append(channel, log, event, this.#clock.wallTime())
    return true
  }

  async subscribe(channel: string, listener: ChannelListener): Promise<Head> {
    this.#assertOpen()
    this.#listeners.set(channel, listener)
    return headOf(this.#openLog(channel))
  }

  async unsubscribe(channel: string, listener: ChannelListener): Promise<void> {
    if (this.#listeners.get(channel) === listener) this.#listeners.delete(channel)
  }

  async read(channel: string, after: number, limit: number, maxBytes = READ_BYTES): Promise<HistoryPage> {
    this.#assertOpen()
    const log = this.#openLog(channel)
    const first = log.offset - log.entries.length + 1
    const entries: LogEntry[] = []
    let bytes = 0
    let end = log.offset
    for (let index = Math.max(after + 1, first) - first; ; index++) {
      const entry = log.entries.at(index)
      if (entry === undefined) break
      bytes += entry.body.length
      if (entries.length === limit || (entries.length > 0 && bytes > maxBytes)) {
        end = entry.offset - 1
        break
      }
      entries.push(entry)
    }
    return { head: positionOf(log), entries, end }
  }

  async heads(channels: readonly string[]): Promise<readonly Head[]> {
    this.#assertOpen()
    return channels.map((channel) => headOf(this.#openLog(channel)))
  }

  async signal(processId: string | undefined, text: string): Promise<number> {
    this.#assertOpen()
    if (processId !== undefined && processId !== this.processId) return 0
    this.#onSignal?.(text)
    return 1
  }

  onSignal(listener: (text: string) => void): void {
    this.#onSignal = listener
  }

  async ping(): Promise<void> {
    this.#assertOpen()
  }

  async close(): Promise<void> {
    this.#state = 'closed'
    this.#sweeper?.cancel()
    this.#logs.clear()
    this.#lastUsed = undefined
    this.#bytes = 0
    this.#listeners.clear()
    this.#publications.clear()
  }

  /** @param publishedAt in ms since 1970 */
  #append(channel: string, log: MemoryLog, event: EncodedEvent, publishedAt: number): void {
    const { body, priority, key, ttlMs, ephemeral, trace } = event
    const offset = ephemeral ? 0 : log.offset + 1
    const entry = { epoch: log.epoch, offset, body, priority, key, ttlMs, publishedAt, trace }
    if (!ephemeral) {
      log.offset = entry.offset
      log.publishedAt = this.#clock.now()
      if (log.retention.historySize > 0) this.#addToHistory(log, entry)
    }
    this.#listeners.get(channel)?.onEntry(entry)
  }

  #addToHistory(log: MemoryLog, entry: LogEntry): void {
    log.entries.push(entry)
    this.#bytes += bytesOf(entry)
    if (log.entries.length > log.retention.historySize) this.#trim(log, 1)
    if (this.#bytes > this.#options.maxLogBytes) this.#freeBytes(log)
  }

  /** Removes the oldest entries. */
  #trim(log: MemoryLog, count: number): void {
    for (; count > 0; count--) {
      const entry = log.entries.shift()
      if (entry !== undefined) this.#bytes -= bytesOf(entry)
    }
  }

  /**
   * Deletes the least recently used logs without a listener. If that is not enough, removes the oldest entries of the
   * others.
   * @param current keeps at least one entry
   */
  #freeBytes(current: MemoryLog): void {
    const goal = this.#options.maxLogBytes * KEPT_BY_EVICTION
    for (const log of this.#logs.values()) {
      if (this.#bytes <= goal) return
      if (log !== current && !this.#listeners.has(log.channel)) this.#deleteLog(log)
    }
    for (const log of this.#logs.values()) {
      const least = log === current ? 1 : 0
      while (this.#bytes > goal && log.entries.length > least) this.#trim(log, 1)
    }
  }

  /** Evicts the least recently used logs without a listener, so that there is room for one more. */
  #evictLogs(): void {
    const goal = Math.min(this.#options.maxLogs - 1, Math.ceil(this.#options.maxLogs * KEPT_BY_EVICTION))
    for (const log of this.#logs.values()) {
      if (this.#logs.size <= goal) return
      if (!this.#listeners.has(log.channel)) this.#deleteLog(log)
    }
  }

  #deleteLog(log: MemoryLog): void {
    this.#trim(log, log.entries.length)
    this.#logs.delete(log.channel)
    if (this.#lastUsed === log) this.#lastUsed = undefined
  }

  #earlierPublication(key: string): Position | undefined {
    const publication = this.#publications.get(key)
    return publication && publication.expiresAt > this.#clock.now() ? publication.position : undefined
  }

  #rememberPublication(key: string, position: Position): void {
    this.#publications.delete(key)
    this.#publications.set(key, { position, expiresAt: this.#clock.now() + this.#options.idempotencyTtlMs })
    if (this.#publications.size <= MAX_IDEMPOTENCY_KEYS) return
    const oldest = this.#publications.keys().next()
    if (!oldest.done) this.#publications.delete(oldest.value)
  }

  /** Returns the channel's log: a new one if there is none or it has expired, an empty one if its history has. */
  #openLog(channel: string): MemoryLog {
    const now = this.#clock.now()
    let log = this.#logs.get(channel)
    if (log && this.#isExpired(channel, log, now)) {
      this.#deleteLog(log)
      log = undefined
    }
    if (log === undefined) {
      // The application's function may throw, so no log is evicted before.
      const retention = this.#options.retentionOf(channel)
      if (this.#logs.size >= this.#options.maxLogs) this.#evictLogs()
      log = {
        channel,
        retention,
        epoch: createEpoch(),
        offset: 0,
        entries: new Ring(),
        publishedAt: now,
        touchedAt: now,
        ended: false,
      }
      this.#logs.set(channel, log)
      this.#lastUsed = log
      this.#sweeper ??= this.#clock.after(SWEEP_MS, () => this.#sweep())
    }
    if (hasExpired(log, now)) this.#trim(log, log.entries.length)
    log.touchedAt = now
    if (this.#lastUsed !== log) {
      this.#logs.delete(channel)
      this.#logs.set(channel, log)
      this.#lastUsed = log
    }
    return log
  }

  #isExpired(channel: string, log: MemoryLog, now: number): boolean {
    return (
      now - log.touchedAt >= Math.max(this.#options.metaTtlMs, log.retention.historyTtlMs) &&
      !this.#listeners.has(channel)
    )
  }

  /** Deletes expired logs, histories and idempotency keys. The other methods only check those that they use. */
  #sweep(): void {
    const now = this.#clock.now()
    for (const [channel, log] of this.#logs) {
      if (this.#isExpired(channel, log, now)) this.#deleteLog(log)
      else if (hasExpired(log, now)) this.#trim(log, log.entries.length)
    }
    for (const [key, publication] of this.#publications) {
      if (publication.expiresAt > now) break
      this.#publications.delete(key)
    }
    this.#sweeper = this.#logs.size === 0 ? undefined : this.#clock.after(SWEEP_MS, () => this.#sweep())
  }

  #assertOpen(): void {
    if (this.#state === 'closed') throw new BrokerError('ERR_SSE_CLOSED', 'The broker was closed')
  }
}

function hasExpired({ publishedAt, retention }: MemoryLog, now: number): boolean {
  return now - publishedAt >= retention.historyTtlMs
}

function bytesOf({ body }: LogEntry): number {
  return body.length + ENTRY_BYTES
}

function positionOf({ epoch, offset }: MemoryLog): Position {
  return { epoch, offset }
}

function headOf(log: MemoryLog): Head {
  return log.ended ? { ...positionOf(log), ended: true } : positionOf(log)
}
