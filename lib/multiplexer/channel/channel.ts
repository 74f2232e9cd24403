/**
 * broker ─► **channel** ─► readers: one log as this process follows it. Owns that its entries are dense: what arrives
 * twice is ignored, what is missing is read from the history before anything later goes out, and a log that was replaced
 * is noticed and said; one that merely goes on under another epoch is followed. Shared by all streams on the channel; must not know HTTP.
 *
 * ```
 *   opening ─ subscribed, head known ─► live ─ hole, resubscribed, other epoch ─► recovering ─ filled ─► live
 * ```
 *   `flushed` ≤ `head`: up to `flushed` the live readers have it; the rest goes out at the end of this tick.
 */

import type { Broker, ChannelListener } from '../../broker/broker.js'
import { outsideContext } from '../../core/async-context.js'
import type { Clock, Timer } from '../../core/clock.js'
import { diagnostics } from '../../core/diagnostics.js'
import type { LogEntry, QueueHints } from '../../core/message.js'
import { type Head, isIn, type Life, type Position, sharedOffset } from '../../core/position.js'
import type { Tracing } from '../../core/tracing.js'
import { Blocks } from '../../wire/blocks.js'
import type { ResetReason } from '../../wire/contract.js'
import { Batch, type CursorPart } from './batch.js'
import { History, readPage } from './history.js'
import type { Page } from './page.js'
import { PageStore } from './page-store.js'
import { retry } from './retry.js'
import { Tail } from './tail.js'

/** Bytes and entries kept while the channel recovers; what does not fit is read from the history. */
const MAX_HELD_BYTES = 1_048_576
const MAX_HELD_ENTRIES = 1024

/** A stream's view of the channel. */
export interface ChannelReader {
  /**
   * New entries, to a reader that has all up to `channel.flushed` and had credit.
   * @returns whether it took them; if not, it is live no more, and `resume` is called when the channel has moved on
   */
  onBatch(batch: Batch): boolean
  /** An event that is in no log. @returns whether it was written at once */
  onEphemeral(blocks: Blocks, hints: QueueHints): boolean
  /** The log starts anew after `offset`; `channel.epoch` is the new one. */
  onReset(channel: Channel, offset: number, reason: ResetReason): void
  /** The log has lost what was after `offset`, and this process knows that there was something. `channel.epoch` is the new one. */
  onLost(channel: Channel, offset: number): void
  /** The channel is about to pass over entries: a live reader notes where it is and is live no more. */
  pause(): void
  /** Finds its own way from where it was. */
  resume(): void
}

export interface ChannelOptions {
  readonly tailBytes: number
  readonly tailEntries: number
  readonly tracing?: Tracing | undefined
  /** Of the process. @defaultValue one of its own */
  readonly pages?: PageStore | undefined
}

export class Channel implements ChannelListener, CursorPart {
  readonly name: string
  readonly history: History
  readonly tail: Tail
  /** All readers; those in `live` as well have everything up to `flushed` and can take more. */
  readonly readers = new Set<ChannelReader>()
  readonly live = new Set<ChannelReader>()
  readonly #broker: Broker
  readonly #clock: Clock
  readonly #tracing: Tracing | undefined
  readonly #pages: PageStore
  readonly #held = new Tail(MAX_HELD_BYTES, MAX_HELD_ENTRIES)
  /** Readers that are not live and wait for entries that are under way. */
  readonly #waiting = new Set<ChannelReader>()
  #life: Life = { epoch: '' }
  /** Former epochs after which this log has lost entries that this process knows of. */
  #lossy: readonly string[] = []
  #head = 0
  /** How far the broker says that the log goes, delivered here or not. */
  #confirmed = 0
  #flushed = 0
  #pending: LogEntry[] = []
  #flushScheduled = false
  #state: 'opening' | 'live' | 'recovering' | 'closed' = 'opening'
  /** The latest offset that came live in this epoch: a log that has not gone back never delivers it again. */
  #lastLive = 0
  #recoverAgain = false
  #recovery: Promise<void> | undefined
  #catchingUp: Promise<void> | undefined

  constructor(name: string, broker: Broker, clock: Clock, options: ChannelOptions) {
    const { tailBytes, tailEntries, tracing, pages = new PageStore(clock) } = options
    this.name = name
    this.#broker = broker
    this.#clock = clock
    this.#tracing = tracing
    this.tail = new Tail(tailBytes, tailEntries)
    this.#pages = pages
    this.history = new History(broker, name, clock, pages)
  }

  get epoch(): string {
    return this.#life.epoch
  }

  find(cursor: readonly Position[]): Position | undefined {
    for (const part of cursor) if (isIn(this.#life, part)) return part
    return undefined
  }

  /** Whether entries that came after this position are known to have been in the log, and are lost. */
  hasLostAfter({ epoch }: Position): boolean {
    return epoch !== this.epoch && this.#lossy.includes(epoch)
  }

  /** Subscribed, and the log's head is known. */
  get opened(): boolean {
    return this.#state !== 'opening' && this.#state !== 'closed'
  }

  get closed(): boolean {
    return this.#state === 'closed'
  }

  get flushed(): number {
    return this.#flushed
  }

  /** The last offset that is known to be in the log. What is beyond `flushed` is under way. */
  get known(): number {
    return Math.max(this.#flushed, this.#confirmed)
  }

  /** See `Clock`. */
  after(delayMs: number, callback: () => void): Timer {
    return this.#clock.after(delayMs, callback)
  }

  /** Ms since 1970. */
  get wallTime(): number {
    return this.#clock.wallTime()
  }

  /** Subscribes and learns where the log stands. @throws BrokerError */
  async open(): Promise<void> {
    const head = await this.#broker.subscribe(this.name, this)
    if (this.#state === 'closed') return
    this.#follow(head)
    this.#head = head.offset
    this.#flushed = head.offset
    this.#state = 'live'
    if (!this.#takeHeld() || this.#recoverAgain) this.#recover()
  }

  close(): void {
    this.#state = 'closed'
    this.history.close()
  }

  /** Calls `reader.resume` once when the channel has moved on. */
  wait(reader: ChannelReader): void {
    this.#waiting.add(reader)
  }

  /** The reader waits no more. */
  stopWaiting(reader: ChannelReader): void {
    this.#waiting.delete(reader)
  }

  /**
   * Asks the broker how far the log goes (`known`), even if delivery is still under way: a cursor from `heads` may be ahead of
   * what was delivered. What the history has of it is delivered at once, what it has not is waited for. Concurrent callers
   * share one look; one that needs to be sure looks again after it.
   * @throws BrokerError
   */
  catchUp(): Promise<void> {
    this.#catchingUp ??= this.#fill().finally(() => {
      this.#catchingUp = undefined
      this.#flush()
    })
    return this.#catchingUp
  }

  /** Asks the broker whether the log is still the one known here; resets the readers if not. Resolves when it is clear. */
  async verify(): Promise<void> {
    this.#recover()
    await this.#recovery
  }

  onEntry(entry: LogEntry): void {
    if (this.#state === 'closed') return
    if (entry.offset === 0) {
      // What came before it goes out before it.
      this.#flush()
      const beganAt = this.#clock.wallTime()
      const blocks = Blocks.of(entry.body)
      let written = 0
      for (const reader of this.readers) if (reader.onEphemeral(blocks, entry)) written++
      this.#report([entry], written, beganAt)
      return
    }
    const rewound = entry.epoch === this.epoch && entry.offset <= this.#lastLive
    if (this.#state !== 'live') {
      this.#held.push(entry)
    } else if (rewound) {
      // The log went back under the same epoch: what is published now is new, whatever its offset says.
      this.#reset({ epoch: entry.epoch, offset: entry.offset - 1 })
      this.#accept(entry)
    } else if (entry.epoch === this.epoch && entry.offset <= this.#head + 1) {
      // At or below the head: read from the history before it was delivered.
      if (entry.offset > this.#head) this.#accept(entry)
    } else {
      this.#held.push(entry)
      this.#recover()
    }
    if (entry.epoch === this.epoch) this.#lastLive = entry.offset
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
    // Once per tick: all that one read from the network brought goes out in one write per stream.
    outsideContext(() => setImmediate(() => this.#flush()))
  }

  #flush(): void {
    this.#flushScheduled = false
    if (this.#pending.length === 0) return
    const beganAt = this.#clock.wallTime()
    const batch = new Batch(this, this.#pending)
    this.#pending = []
    let taken = 0
    let left: ChannelReader[] | undefined
    for (const reader of this.live) {
      if (reader.onBatch(batch)) {
        taken++
        continue
      }
      left ??= []
      left.push(reader)
    }
    this.#flushed = this.#head
    this.#report(batch.entries, taken - batch.queuedBy, beganAt)
    if (left !== undefined) for (const reader of left) reader.resume()
    this.#wake()
  }

  /** Says that entries were written to live streams, once for all of these. */
  #report(entries: readonly LogEntry[], streams: number, beganAt: number): void {
    if (streams === 0) return
    if (diagnostics.channelDeliver.hasSubscribers) {
      diagnostics.channelDeliver.publish({ channel: this.name, entries, streams, now: this.#clock.wallTime() })
    }
    this.#tracing?.deliver(this.name, entries, streams, beganAt)
  }

  /**
   * Takes over what was held, where it continues what is here. The rest is dropped: if it is of use, the history has it.
   * @returns whether nothing was dropped that may be missing
   */
  #takeHeld(): boolean {
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
    await retry(this.#clock, 'recover', recovering, async () => {
      do {
        this.#recoverAgain = false
        await this.#fill()
      } while (recovering() && (!this.#takeHeld() || this.#recoverAgain))
      // At once, not after this function: what comes now must not be held any more.
      if (recovering()) this.#state = 'live'
    })
  }

  /** Reads on from here to where the log stands. @throws BrokerError */
  async #fill(): Promise<void> {
    for (let done = false; !done && this.#state !== 'closed'; ) {
      // Entries that come while the broker is asked are newer than its answer, and so is a reset.
      const { epoch } = this
      const known = this.#head
      // With a subscription that was never interrupted, what is not here yet is under way, so it must not be passed over.
      const passOver = this.#state === 'recovering'
      const [head] = await this.#broker.heads([this.name])
      if (head === undefined || this.closed) return
      if (this.epoch !== epoch) continue
      if (head.epoch !== epoch) this.#goOnWith(head)
      else if (head.offset < known) this.#reset(head)
      this.#confirmed = Math.max(this.#confirmed, head.offset)
      done = await this.#readUpTo(head, passOver)
    }
  }

  /** @returns `false` if the log was replaced meanwhile */
  async #readUpTo(head: Head, passOver: boolean): Promise<boolean> {
    while (this.epoch === head.epoch && this.#head < head.offset && !this.closed) {
      const from = this.#head
      const page = await this.#pages.reading(() => readPage(this.#broker, this.name, from))
      // Only `heads` returns former lives.
      if (page.head.epoch !== this.epoch || page.end <= from) return false
      if (!this.#takePage(page, passOver)) return true
    }
    return this.epoch === head.epoch
  }

  /** @returns whether all of it is here now, or is known to be gone */
  #takePage(page: Page, passOver: boolean): boolean {
    for (;;) {
      const missing = page.missingAfter(this.#head)
      if (missing > this.#head) {
        if (!passOver) return false
        this.#skipTo(missing)
      }
      const entry = page.at(this.#head + 1)
      if (entry === undefined) return true
      this.#accept(entry)
    }
  }

  /** What lies between is gone from the history; each reader tells its client how much of it that client misses. */
  #skipTo(offset: number): void {
    this.#flush()
    const readers = [...this.live]
    for (const reader of readers) reader.pause()
    this.#head = offset
    this.#flushed = offset
    this.tail.clear()
    for (const reader of readers) reader.resume()
    this.#wake()
  }

  #wake(): void {
    if (this.#waiting.size === 0) return
    const waiting = [...this.#waiting]
    this.#waiting.clear()
    for (const reader of waiting) reader.resume()
  }

  /** The log has another epoch: it is another one, or this one without what was after the last position they share. */
  #goOnWith(head: Head): void {
    // Streams may be ahead of what was delivered here.
    const known = Math.max(this.#head, this.#confirmed)
    const kept = sharedOffset({ ...this.#life, offset: known }, head)
    // All of another log is new to every stream here.
    if (kept === undefined) this.#reset({ ...head, offset: 0 })
    else if (known > kept || head.lossy?.includes(this.epoch)) this.#lose({ ...head, offset: kept })
    else this.#rename(head)
  }

  /** Nothing is known to be lost. */
  #rename(head: Head): void {
    this.#flush()
    this.#follow(head)
    this.#confirmed = head.offset
    // What is held beyond is of the former life.
    this.#lastLive = Math.min(this.#lastLive, this.#head)
    this.history.forget()
  }

  #lose(head: Head): void {
    const { epoch, earlier = [] } = this.#life
    this.#restart({ ...head, lossy: [epoch, ...earlier.map((life) => life.epoch)] })
    for (const reader of [...this.readers]) reader.onLost(this, head.offset)
  }

  #reset(head: Head): void {
    this.#restart(head)
    for (const reader of [...this.readers]) reader.onReset(this, head.offset, 'log_replaced')
  }

  #restart(head: Head): void {
    this.#flush()
    // Live readers have what is here so far, which is about to change its place.
    for (const reader of [...this.live]) reader.pause()
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
    this.#lossy = [...new Set([...this.#lossy, ...lossy])].filter((former) =>
      earlier?.some((life) => life.epoch === former),
    )
    this.#life = earlier === undefined ? { epoch } : { epoch, earlier }
  }
}
