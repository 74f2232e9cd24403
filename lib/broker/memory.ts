/**
 * publish ─► encode once ─► **broker** ─► multiplexer: the embedded broker. The same logs as in Redis, in this process;
 * they end with it. Must not know streams or HTTP.
 */

import type { Clock, Timer } from '../core/clock.js'
import { compositeKey } from '../core/composite-key.js'
import { BrokerError } from '../core/errors.js'
import type { EncodedEvent, LogEntry } from '../core/message.js'
import { createEpoch, type Position } from '../core/position.js'
import { Ring } from '../core/ring.js'
import {
  type Broker,
  type BrokerState,
  type ChannelListener,
  createProcessId,
  type HistoryPage,
  type PublishOptions,
  READ_BYTES,
} from './broker.js'
import { type HistoryOptions, type ResolvedHistoryOptions, resolveHistoryOptions } from './options.js'
import { positionsAfter } from './positions.js'

const SWEEP_MS = 10_000
const MAX_IDEMPOTENCY_KEYS = 100_000

/** What an entry costs beside its body, roughly. */
const ENTRY_BYTES = 200
/** Of a bound that was reached, so much is left: finding what may go means a look at all that may not. */
const AFTER_EVICTION = 0.9

interface MemoryLog {
  readonly channel: string
  readonly epoch: string
  offset: number
  /** The last `historySize` entries; the newest has offset `offset`. */
  readonly entries: Ring<LogEntry>
  publishedAt: number
  touchedAt: number
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
  /** Those used longest ago first. */
  readonly #logs = new Map<string, MemoryLog>()
  #latest: MemoryLog | undefined
  /** Of all entries. */
  #bytes = 0
  readonly #listeners = new Map<string, ChannelListener>()
  /** Oldest first, because all keys live equally long. */
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
    const log = this.#open(channel)
    const keyed = idempotencyKey !== undefined && events.some(({ ephemeral }) => !ephemeral)
    const publicationKey = keyed ? compositeKey(channel, idempotencyKey) : undefined
    const earlier = publicationKey && this.#earlierPublication(publicationKey)
    if (earlier) return positionsAfter(events, earlier)

    const now = this.#clock.wallTime()
    for (const event of events) this.#append(channel, log, event, now)
    if (publicationKey) this.#remember(publicationKey, headOf(log))
    return positionsAfter(events, headOf(log))
  }

  offer(channel: string, event: EncodedEvent): boolean {
    if (this.#state === 'closed') return false
    this.#append(channel, this.#open(channel), event, this.#clock.wallTime())
    return true
  }

  async subscribe(channel: string, listener: ChannelListener): Promise<Position> {
    this.#assertOpen()
    this.#listeners.set(channel, listener)
    return headOf(this.#open(channel))
  }

  async unsubscribe(channel: string): Promise<void> {
    this.#listeners.delete(channel)
  }

  async read(channel: string, after: number, limit: number, maxBytes = READ_BYTES): Promise<HistoryPage> {
    this.#assertOpen()
    const log = this.#open(channel)
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
    return { head: headOf(log), entries, end }
  }

  async heads(channels: readonly string[]): Promise<readonly Position[]> {
    this.#assertOpen()
    return channels.map((channel) => headOf(this.#open(channel)))
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
    this.#latest = undefined
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
      if (this.#options.historySize > 0) this.#keep(log, entry)
    }
    this.#listeners.get(channel)?.onEntry(entry)
  }

  #keep(log: MemoryLog, entry: LogEntry): void {
    log.entries.push(entry)
    this.#bytes += costOf(entry)
    if (log.entries.length > this.#options.historySize) this.#trim(log, 1)
    if (this.#bytes > this.#options.maxLogBytes) this.#makeRoom(log)
  }

  /** Removes the oldest entries. */
  #trim(log: MemoryLog, count: number): void {
    for (; count > 0; count--) {
      const entry = log.entries.shift()
      if (entry !== undefined) this.#bytes -= costOf(entry)
    }
  }

  /** @param last in which one entry at least is kept */
  #makeRoom(last: MemoryLog): void {
    const goal = this.#options.maxLogBytes * AFTER_EVICTION
    for (const log of this.#logs.values()) {
      if (this.#bytes <= goal) return
      if (log !== last && !this.#listeners.has(log.channel)) this.#forget(log)
    }
    for (const log of this.#logs.values()) {
      const least = log === last ? 1 : 0
      while (this.#bytes > goal && log.entries.length > least) this.#trim(log, 1)
    }
  }

  /** Makes room for one more log. */
  #evict(): void {
    const goal = Math.min(this.#options.maxLogs - 1, Math.ceil(this.#options.maxLogs * AFTER_EVICTION))
    for (const log of this.#logs.values()) {
      if (this.#logs.size <= goal) return
      if (!this.#listeners.has(log.channel)) this.#forget(log)
    }
  }

  #forget(log: MemoryLog): void {
    this.#trim(log, log.entries.length)
    this.#logs.delete(log.channel)
    if (this.#latest === log) this.#latest = undefined
  }

  #earlierPublication(key: string): Position | undefined {
    const publication = this.#publications.get(key)
    return publication && publication.expiresAt > this.#clock.now() ? publication.position : undefined
  }

  #remember(key: string, position: Position): void {
    this.#publications.delete(key)
    this.#publications.set(key, { position, expiresAt: this.#clock.now() + this.#options.idempotencyTtlMs })
    if (this.#publications.size <= MAX_IDEMPOTENCY_KEYS) return
    const oldest = this.#publications.keys().next()
    if (!oldest.done) this.#publications.delete(oldest.value)
  }

  /** The channel's log as it is now: born if there is none, emptied if its history has run out. */
  #open(channel: string): MemoryLog {
    const now = this.#clock.now()
    let log = this.#logs.get(channel)
    if (log && this.#isForgotten(channel, log, now)) {
      this.#forget(log)
      log = undefined
    }
    if (log === undefined) {
      if (this.#logs.size >= this.#options.maxLogs) this.#evict()
      log = { channel, epoch: createEpoch(), offset: 0, entries: new Ring(), publishedAt: now, touchedAt: now }
      this.#logs.set(channel, log)
      this.#latest = log
      this.#sweeper ??= this.#clock.after(SWEEP_MS, () => this.#sweep())
    }
    if (now - log.publishedAt >= this.#options.historyTtlMs) this.#trim(log, log.entries.length)
    log.touchedAt = now
    if (this.#latest !== log) {
      this.#logs.delete(channel)
      this.#logs.set(channel, log)
      this.#latest = log
    }
    return log
  }

  #isForgotten(channel: string, log: MemoryLog, now: number): boolean {
    return now - log.touchedAt >= this.#options.metaTtlMs && !this.#listeners.has(channel)
  }

  /** Frees what has run out and nobody asks for any more. */
  #sweep(): void {
    const now = this.#clock.now()
    for (const [channel, log] of this.#logs) {
      if (this.#isForgotten(channel, log, now)) this.#forget(log)
      else if (now - log.publishedAt >= this.#options.historyTtlMs) this.#trim(log, log.entries.length)
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

function costOf({ body }: LogEntry): number {
  return body.length + ENTRY_BYTES
}

function headOf(log: MemoryLog): Position {
  return { epoch: log.epoch, offset: log.offset }
}
