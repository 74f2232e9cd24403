/**
 * broker ─► **channel** ─► readers: one log as this process follows it, shared by all streams and polls on the channel.
 *
 * Owns the density of its entries: a duplicate is ignored, and missing entries are read from the history before any
 * later entry is delivered. If the log was replaced or has lost entries, the readers are notified; if the log only
 * continues under another epoch, the channel follows it. Must not know HTTP.
 *
 * ```
 *   opening ─ subscribed, head known ─► live ─ hole, resubscribed, other epoch ─► recovering ─ filled ─► live
 * ```
 *   `flushed` ≤ `head`: live readers have the entries up to `flushed`; they get the others at the end of this tick.
 */

import type { Broker, ChannelListener } from '../../broker/broker.js'
import { outsideContext } from '../../core/async-context.js'
import type { Clock } from '../../core/clock.js'
import { diagnostics } from '../../core/diagnostics.js'
import type { LogEntry } from '../../core/message.js'
import { type Head, isIn, type Life, type Position, sharedOffset } from '../../core/position.js'
import type { EventTracing } from '../../core/tracing.js'
import { Blocks } from '../../wire/blocks.js'
import type { ResetReason } from '../../wire/contract.js'
import { Batch, type CursorPart } from './batch.js'
import { History, readPage, retry } from './history.js'
import type { Page } from './page.js'
import { PageStore } from './page-store.js'
import { type BatchReader, ChannelReaders } from './readers.js'
import { Tail } from './tail.js'

/** Bounds of the entries kept while the channel recovers. Entries beyond them are read from the history. */
const MAX_HELD_BYTES = 1_048_576
const MAX_HELD_ENTRIES = 1024

/**
 * A reader of the channel, as the channel calls it. A live reader has all entries up to `flushed` and gets each batch;
 * any other reader reads from the tail or the history.
 */
export interface ChannelReader extends BatchReader {
  /** The log was replaced: its new entries follow `offset` in the new `channel.epoch`. */
  onReset(channel: Channel, offset: number, reason: ResetReason): void
  /** The log has lost entries after `offset` that this process knows of. `channel.epoch` is the new one. */
  onLost(channel: Channel, offset: number): void
  /** The log has ended, and all its entries were delivered. May be called repeatedly. */
  onEnded(): void
}

export interface ChannelOptions {
  readonly tailBytes: number
  readonly tailEntries: number
  readonly tracing?: EventTracing | undefined
  /** The pages of all channels in this process. @defaultValue a store for this channel alone */
  readonly pages?: PageStore | undefined
}

export class Channel implements ChannelListener, CursorPart {
  readonly name: string
  readonly history: History
  readonly tail: Tail
  readonly clock: Clock
  readonly #readers = new ChannelReaders<ChannelReader>()
  readonly #broker: Broker
  readonly #tracing: EventTracing | undefined
  readonly #pages: PageStore
  readonly #held = new Tail(MAX_HELD_BYTES, MAX_HELD_ENTRIES)
  #life: Life = { epoch: '' }
  /** Earlier epochs after which this log has lost entries that this process knows of. */
  #lossy: readonly string[] = []
  #head = 0
  /** The last offset that the broker has reported, whether or not that entry was delivered here. */
  #confirmed = 0
  #flushed = 0
  /** Where the log has ended; `undefined`: nowhere, as far as is known. */
  #endsAt: number | undefined
  #pending: LogEntry[] = []
  #flushScheduled = false
  #state: 'opening' | 'live' | 'recovering' | 'closed' = 'opening'
  /** The latest offset delivered live in this epoch. A log that was not set back never delivers it again. */
  #lastLive = 0
  #recoverAgain = false
  #recovery: Promise<void> | undefined
  #catchingUp: Promise<void> | undefined

  constructor(name: string, broker: Broker, clock: Clock, options: ChannelOptions) {
    const { tailBytes, tailEntries, tracing, pages = new PageStore(clock) } = options
    this.name = name
    this.#broker = broker
    this.clock = clock
    this.#tracing = tracing
    this.tail = new Tail(tailBytes, tailEntries)
    this.#pages = pages
    this.history = new History(broker, name, clock, pages)
  }

  get epoch(): string {
    return this.#life.epoch
  }

  positionIn(cursor: readonly Position[]): Position | undefined {
    for (const position of cursor) if (isIn(this.#life, position)) return position
    return undefined
  }

  /** Whether the log is known to have lost entries that followed this position. */
  hasLostAfter({ epoch }: Position): boolean {
    return epoch !== this.epoch && this.#lossy.includes(epoch)
  }

  /** The channel is subscribed, and the log's head is known. */
  get opened(): boolean {
    return this.#state !== 'opening' && this.#state !== 'closed'
  }

  get closed(): boolean {
    return this.#state === 'closed'
  }

  get flushed(): number {
    return this.#flushed
  }

  /** The log has ended, and live readers have all its entries. */
  get ended(): boolean {
    return this.#endsAt !== undefined && this.#flushed >= this.#endsAt
  }

  /**
   * The last offset that is known to be in the log. Entries beyond `flushed` have not been delivered to readers yet.
   */
  get known(): number {
    return Math.max(this.#flushed, this.#confirmed)
  }

  /** Adds a reader, which is not live yet. */
  join(reader: ChannelReader): void {
    this.#readers.join(reader)
  }

  /** Removes a reader. Nothing calls it any more. */
  leave(reader: ChannelReader): void {
    this.#readers.leave(reader)
  }

  /** Makes a reader live. It must have all entries up to `flushed`. */
  goLive(reader: ChannelReader): void {
    this.#readers.goLive(reader)
  }

  /** The reader gets no more batches. */
  leaveLive(reader: ChannelReader): void {
    this.#readers.leaveLive(reader)
  }

  /** Calls `reader.resume` once, when `flushed` has moved. */
  resumeOnEntries(reader: ChannelReader): void {
    this.#readers.resumeOnEntries(reader)
  }

  /** Subscribes and reads the log's head. @throws BrokerError */
  async open(): Promise<void> {
    const head = await this.#broker.subscribe(this.name, this)
    if (this.#state === 'closed') return
    this.#follow(head)
    this.#head = head.offset
    this.#flushed = head.offset
    this.#noteEnd(head)
    this.#state = 'live'
    if (!this.#acceptHeld() || this.#recoverAgain) this.#recover()
  }

  close(): void {
    this.#state = 'closed'
    this.history.close()
  }

  /**
   * Requests the log's head (`known`) from the broker: a cursor from `heads` may be ahead of the entries delivered
   * here. Entries that the history has are delivered immediately; the subscription delivers the others. Concurrent
   * callers share one request, which may have begun before the call: for a head that is newer than the call, call again
   * after it.
   * @throws BrokerError
   */
  catchUp(): Promise<void> {
    this.#catchingUp ??= this.#readMissing().finally(() => {
      this.#catchingUp = undefined
      this.#flush()
    })
    return this.#catchingUp
  }

  /** Checks with the broker whether the log is still the one known here, and resets the readers if it is not. */
  async verify(): Promise<void> {
    this.#recover()
    await this.#recovery
  }

  onEntry(entry: LogEntry): void {
    if (this.#state === 'closed') return
    if (entry.offset === 0) {
      // In Redis nothing refuses such events after the end.
      if (this.ended) return
      // Entries that arrived before this event are delivered before it.
      this.#flush()
      const beganAt = this.clock.wallTime()
      const written = this.#readers.deliverEphemeral(entry, Blocks.of(entry.body))
      this.#report([entry], written, beganAt)
      return
    }
    const rewound = entry.epoch === this.epoch && entry.offset <= this.#lastLive
    if (this.#state !== 'live') {
      this.#held.push(entry)
    } else if (rewound) {
      // The log was set back under the same epoch. The entry is new, although its offset was used before.
      this.#reset({ epoch: entry.epoch, offset: entry.offset - 1 })
      this.#accept(entry)
    } else if (entry.epoch === this.epoch && entry.offset <= this.#head + 1) {
      // An entry at or below the head was read from the history before its delivery.
      if (entry.offset > this.#head) this.#accept(entry)
    } else {
      this.#held.push(entry)
      this.#recover()
    }
    if (entry.epoch === this.epoch) this.#lastLive = entry.offset
  }

  onEnded({ epoch, offset }: Position): void {
    if (this.#state !== 'live' || epoch !== this.epoch || offset > this.#head) {
      // The end is known once the missing entries are: the head has it.
      this.onResubscribed()
      return
    }
    this.#endsAt = offset
    this.#notifyEnd()
  }

  onResubscribed(): void {
    if (this.#state === 'opening') this.#recoverAgain = true
    else this.#recover()
  }

  #accept(entry: LogEntry): void {
    this.#head = entry.offset
    this.tail.push(entry)
    this.#pending.push(entry)
    if (this.#flushScheduled) return
    this.#flushScheduled = true
    // Once per tick: all entries of one read from the network leave in one write per stream (bench fanout).
    outsideContext(() => setImmediate(() => this.#flush()))
  }

  #flush(): void {
    this.#flushScheduled = false
    if (this.#pending.length === 0) return
    const beganAt = this.clock.wallTime()
    const batch = new Batch(this, this.#pending)
    this.#pending = []
    const { taken, refusing } = this.#readers.deliver(batch)
    this.#flushed = this.#head
    this.#report(batch.entries, taken - batch.queuedBy, beganAt)
    for (const reader of refusing) reader.resume()
    this.#readers.resumeWaiting()
    this.#notifyEnd()
  }

  /** A head without the end may be older than what is known: only another epoch opens a log again (`#follow`). */
  #noteEnd({ offset, ended }: Head): void {
    if (ended) this.#endsAt = offset
  }

  #notifyEnd(): void {
    if (this.ended) this.#readers.notifyAll((reader) => reader.onEnded())
  }

  /** Publishes to diagnostics and tracing, once for all live streams, that entries were written to them. */
  #report(entries: readonly LogEntry[], streams: number, beganAt: number): void {
    if (streams === 0) return
    if (diagnostics.channelDeliver.hasSubscribers) {
      diagnostics.channelDeliver.publish({ channel: this.name, entries, streams, now: this.clock.wallTime() })
    }
    this.#tracing?.deliver(this.name, entries, streams, beganAt)
  }

  /**
   * Accepts the held entries that continue this log, and drops the others: entries that are needed are in the history.
   * @returns `false` if a dropped entry may be missing here
   */
  #acceptHeld(): boolean {
    let complete = true
    for (let entry = this.#held.shift(); entry; entry = this.#held.shift()) {
      if (entry.epoch !== this.epoch || entry.offset > this.#head + 1) complete = false
      else if (entry.offset === this.#head + 1) this.#accept(entry)
    }
    return complete
  }

  #recover(): void {
    this.#recoverAgain = this.#state === 'recovering'
    if (this.#state === 'live') {
      this.#state = 'recovering'
      this.#recovery = this.#recoverUntilLive()
    }
  }

  async #recoverUntilLive(): Promise<void> {
    const recovering = (): boolean => this.#state === 'recovering'
    await retry(this.clock, 'recover', recovering, async () => {
      do {
        this.#recoverAgain = false
        await this.#readMissing()
      } while (recovering() && (!this.#acceptHeld() || this.#recoverAgain))
      // Before this function returns: entries that arrive from now on must not be held.
      if (recovering()) this.#state = 'live'
    })
  }

  /** Reads the entries between this channel's head and the log's head. @throws BrokerError */
  async #readMissing(): Promise<void> {
    for (let done = false; !done && this.#state !== 'closed'; ) {
      // Entries and resets that arrive during the request are newer than its answer.
      const { epoch } = this
      const known = this.#head
      // A subscription that was not interrupted still delivers the missing entries, so they must not be skipped.
      const maySkip = this.#state === 'recovering'
      const [head] = await this.#broker.heads([this.name])
      if (head === undefined || this.closed) return
      if (this.epoch !== epoch) continue
      if (head.epoch !== epoch) this.#changeEpoch(head)
      else if (head.offset < known) this.#reset(head)
      this.#confirmed = Math.max(this.#confirmed, head.offset)
      this.#noteEnd(head)
      done = await this.#readUpTo(head, maySkip)
    }
    this.#notifyEnd()
  }

  /** @returns `false` if the log was replaced during the reads */
  async #readUpTo(head: Head, maySkip: boolean): Promise<boolean> {
    while (this.epoch === head.epoch && this.#head < head.offset && !this.closed) {
      const from = this.#head
      const page = await this.#pages.reading(() => readPage(this.#broker, this.name, from))
      // Only `heads` returns the earlier lives of a log, so the caller requests the head again.
      if (page.head.epoch !== this.epoch || page.end <= from) return false
      if (!this.#acceptPage(page, maySkip)) return true
    }
    return this.epoch === head.epoch
  }

  /** @returns whether all entries of the page are here now, or are known to be lost */
  #acceptPage(page: Page, maySkip: boolean): boolean {
    for (;;) {
      const missing = page.missingAfter(this.#head)
      if (missing > this.#head) {
        if (!maySkip) return false
        this.#skipTo(missing)
      }
      const entry = page.at(this.#head + 1)
      if (entry === undefined) return true
      this.#accept(entry)
    }
  }

  /** Skips entries that the history no longer has. Each reader announces to its client the gap in that client's log. */
  #skipTo(offset: number): void {
    this.#flush()
    const paused = this.#readers.pauseLive()
    this.#head = offset
    this.#flushed = offset
    this.tail.clear()
    for (const reader of paused) reader.resume()
    this.#readers.resumeWaiting()
  }

  /**
   * The log has another epoch. It is another log, or this one up to the last position that both share: the entries
   * after that position are lost.
   */
  #changeEpoch(head: Head): void {
    // Streams may be ahead of the entries delivered here.
    const known = Math.max(this.#head, this.#confirmed)
    const kept = sharedOffset({ ...this.#life, offset: known }, head)
    // Every entry of another log is new to all streams here.
    if (kept === undefined) this.#reset({ ...head, offset: 0 })
    else if (known > kept || head.lossy?.includes(this.epoch)) this.#lose({ ...head, offset: kept })
    else this.#continueUnder(head)
  }

  /** The log has a new epoch, and no entry is known to be lost. */
  #continueUnder(head: Head): void {
    this.#flush()
    this.#follow(head)
    this.#confirmed = head.offset
    // Held entries beyond the head belong to the earlier epoch.
    this.#lastLive = Math.min(this.#lastLive, this.#head)
    this.history.forget()
  }

  #lose(head: Head): void {
    const { epoch, earlier = [] } = this.#life
    this.#restart({ ...head, lossy: [epoch, ...earlier.map((life) => life.epoch)] })
    this.#readers.notifyAll((reader) => reader.onLost(this, head.offset))
  }

  #reset(head: Head): void {
    this.#restart(head)
    this.#readers.notifyAll((reader) => reader.onReset(this, head.offset, 'log_replaced'))
  }

  #restart(head: Head): void {
    this.#flush()
    // The offsets are about to change: live readers record their positions first.
    this.#readers.pauseLive()
    this.#follow(head)
    this.#head = head.offset
    this.#flushed = head.offset
    this.#confirmed = head.offset
    this.#lastLive = 0
    this.tail.clear()
    this.history.forget()
    if (diagnostics.channelLoss.hasSubscribers) {
      const { epoch, offset } = head
      diagnostics.channelLoss.publish({ channel: this.name, reason: 'log_replaced', epoch, offset })
    }
  }

  #follow({ epoch, earlier, lossy = [] }: Head): void {
    this.#lossy = [...new Set([...this.#lossy, ...lossy])].filter((lossyEpoch) =>
      earlier?.some((life) => life.epoch === lossyEpoch),
    )
    this.#life = earlier === undefined ? { epoch } : { epoch, earlier }
    this.#endsAt = undefined
  }
}
