/**
 * … ─► stream ─► **queue**: what one stream holds while it may not go on. Owns how that goes out, and that every drop is reported:
 * at once to diagnostics, to the client when there is room, and what is held to the process's pressure.
 */

import { diagnostics } from '../core/diagnostics.js'
import type { Blocks } from '../wire/blocks.js'
import { droppedBlock } from '../wire/control.js'
import { Backlog, type DropReason, type Waiting } from './backlog.js'
import type { ResolvedStreamOptions } from './options.js'
import type { Pressed } from './pressure.js'
import type { Sink } from './source.js'

/** What an event costs beside its bytes while it waits: the objects that hold it. */
const OVERHEAD_BYTES = 200

/** The stream whose queue it is. */
interface Owner extends Sink, Pressed {
  /** What its pacing would grant now. */
  readonly tokens: number | undefined
  describe(said: object): object
}

export class StreamQueue {
  readonly #owner: Owner
  readonly #options: ResolvedStreamOptions
  readonly #backlog: Backlog
  #overflowed = false
  #saturatedSince: number | undefined

  constructor(owner: Owner, options: ResolvedStreamOptions) {
    this.#owner = owner
    this.#options = options
    this.#backlog = new Backlog(options, (reason) => this.#onDrop(reason))
  }

  get length(): number {
    return this.#backlog.length
  }

  get bytes(): number {
    return this.#backlog.bytes
  }

  get dropped(): number {
    return this.#backlog.dropped
  }

  /** @param now by the monotonic clock, as in `waiting`. @returns whether it waits now */
  offer(waiting: Waiting, now: number): boolean {
    const waits = this.#backlog.offer(waiting, now)
    if (this.#overflowed) this.#saturatedSince ??= now
    this.#held()
    // With too much in all queues together this one may have been emptied.
    return waits && this.#backlog.length > 0
  }

  /** For how long it has been too small, in ms. */
  saturatedMs(now: number): number {
    return this.#saturatedSince === undefined ? 0 : now - this.#saturatedSince
  }

  /** Sends what the stream has credit for. */
  flush(): void {
    while (this.#sendNext());
    this.#held()
  }

  /** Sends one event, if the stream has credit. @returns whether it did */
  flushOne(): boolean {
    const sent = this.#sendNext()
    this.#held()
    return sent
  }

  /** Sends all, whatever the credit: before the end, for nobody could ask for it again. It is bounded. */
  flushAll(): void {
    const now = this.#options.clock.now()
    for (let block = this.#backlog.peek(now); block; block = this.#backlog.peek(now)) this.#send(block)
  }

  /** Drops all. */
  shed(): void {
    this.#backlog.clear('shed', this.#options.clock.now())
    this.#held()
  }

  /** What the client must be told of drops since the last time. */
  reports(): readonly Blocks[] {
    const { clock } = this.#options
    // What was measured by the monotonic clock, as the wall clock has it now.
    const wallTimeOf = (at: number): number => Math.round(clock.wallTime() - clock.now() + at)
    return this.#backlog
      .takeDrops()
      .map(({ count, reason, from, to }) => droppedBlock({ count, reason, from: wallTimeOf(from), to: wallTimeOf(to) }))
  }

  #sendNext(): boolean {
    if (!this.#owner.writable) return false
    const block = this.#backlog.peek(this.#options.clock.now())
    if (block === undefined || !this.#owner.spend(1, block.length)) return false
    this.#send(block)
    return true
  }

  #send(block: Blocks): void {
    this.#backlog.take()
    this.#owner.write(block, 1)
  }

  #onDrop(reason: DropReason): void {
    if (reason === 'queue_full') this.#overflowed = true
    if (!diagnostics.streamDrop.hasSubscribers) return
    const { tokens } = this.#owner
    diagnostics.streamDrop.publish(this.#owner.describe({ reason, dropped: this.#backlog.dropped, tokens }))
  }

  #held(): void {
    const { length, bytes } = this.#backlog
    if (length === 0) {
      this.#overflowed = false
      this.#saturatedSince = undefined
    }
    this.#options.pressure?.hold(this.#owner, bytes + length * OVERHEAD_BYTES)
  }
}
