/**
 * … ─► stream ─► **queue**: the events of one stream that wait for credit. Owns how they are sent, and that every drop
 * is reported: to diagnostics immediately, to the client when there is room. Reports the bytes that it holds to the
 * process's pressure.
 */

import { diagnostics } from '../core/diagnostics.js'
import type { Blocks } from '../wire/blocks.js'
import { droppedBlock } from '../wire/control.js'
import { BoundedQueue, type DropReason, type QueuedEvent } from './bounded-queue.js'
import type { ResolvedStreamOptions } from './options.js'
import type { PressureMember } from './pressure.js'
import type { Sink } from './source.js'

/** Memory that a waiting event takes in addition to its bytes: the objects that hold it. */
const OVERHEAD_BYTES = 200
const NO_REPORTS: readonly Blocks[] = []

/** The stream that has the queue. */
interface QueueOwner extends Sink, PressureMember {
  /** The tokens that pacing would grant now. */
  readonly tokens: number | undefined
  /** Returns a message about the stream for diagnostics. */
  describe(details: object): object
  /** Reports to the client what was dropped before the oldest event that waits. */
  reportDrops(): void
  /** Like `write`, without a report of drops. */
  writeEvents(blocks: Blocks, events: number): void
}

export class StreamQueue {
  readonly #owner: QueueOwner
  readonly #options: ResolvedStreamOptions
  readonly #queue: BoundedQueue
  /** Whether an event was dropped for lack of room since the queue was last empty. */
  #overflowed = false
  #saturatedSince: number | undefined

  constructor(owner: QueueOwner, options: ResolvedStreamOptions) {
    this.#owner = owner
    this.#options = options
    this.#queue = new BoundedQueue(options, (reason) => this.#onDrop(reason))
  }

  get length(): number {
    return this.#queue.length
  }

  get bytes(): number {
    return this.#queue.bytes
  }

  get dropped(): number {
    return this.#queue.dropped
  }

  /**
   * Adds an event, or drops one.
   * @param now by the monotonic clock, like `event.expiresAt`
   * @returns whether the event waits now
   */
  offer(event: QueuedEvent, now: number): boolean {
    const queued = this.#queue.offer(event, now)
    if (this.#overflowed) this.#saturatedSince ??= now
    this.#reportHeld()
    // The report may have emptied this queue, if all queues together were too large.
    return queued && this.#queue.length > 0
  }

  /** How long the queue has been too small, in ms. */
  saturatedMs(now: number): number {
    return this.#saturatedSince === undefined ? 0 : now - this.#saturatedSince
  }

  /** Sends events while the stream has credit. */
  flush(): void {
    while (this.#sendNext());
    this.#reportHeld()
  }

  /** Sends one event if the stream has credit. @returns whether an event was sent */
  flushOne(): boolean {
    const sent = this.#sendNext()
    this.#reportHeld()
    return sent
  }

  /** Sends all events, with or without credit: after the end nobody can request them again. Their bytes are bounded. */
  flushAll(): void {
    const now = this.#options.clock.now()
    for (let block = this.#queue.peek(now); block; block = this.#queue.peek(now)) this.#send(block)
  }

  /** Drops all events. */
  shed(): void {
    this.#queue.clear('shed', this.#options.clock.now())
    this.#reportHeld()
  }

  /**
   * Returns control events for the client: what was dropped before the oldest event that waits. The client learns of a
   * loss where it is, so that a position before the loss does not include the report.
   * @param all returns all drops
   */
  reports(all: boolean): readonly Blocks[] {
    const drops = all ? this.#queue.takeAllDrops() : this.#queue.takeDrops()
    if (drops.length === 0) return NO_REPORTS
    const { clock } = this.#options
    // Drops are timed by the monotonic clock; clients get times of the wall clock.
    const wallTimeOf = (at: number): number => Math.round(clock.wallTime() - clock.now() + at)
    return drops.map(({ count, reason, from, to }) =>
      droppedBlock({ count, reason, from: wallTimeOf(from), to: wallTimeOf(to) }),
    )
  }

  #sendNext(): boolean {
    if (!this.#owner.hasCredit) return false
    const block = this.#queue.peek(this.#options.clock.now())
    if (block === undefined || !this.#owner.spend(1, block.length)) return false
    this.#send(block)
    return true
  }

  #send(block: Blocks): void {
    this.#owner.reportDrops()
    // Before the write, during which the stream may close and send what waits.
    this.#queue.take()
    this.#owner.writeEvents(block, 1)
  }

  #onDrop(reason: DropReason): void {
    if (reason === 'queue_full') this.#overflowed = true
    if (!diagnostics.streamDrop.hasSubscribers) return
    const { tokens } = this.#owner
    diagnostics.streamDrop.publish(this.#owner.describe({ reason, dropped: this.#queue.dropped, tokens }))
  }

  #reportHeld(): void {
    const { length, bytes } = this.#queue
    if (length === 0) {
      this.#overflowed = false
      this.#saturatedSince = undefined
    }
    this.#options.pressure?.hold(this.#owner, bytes + length * OVERHEAD_BYTES)
  }
}
