/**
 * What waits for a full socket and is in no log: events given to `stream.send` and ephemeral ones. Bounded in events,
 * bytes and time; the newest is dropped when it is full. Holds references to shared bytes.
 */

import type { Blocks } from '../core/blocks.js'
import { Ring } from '../core/ring.js'

interface Waiting {
  readonly block: Blocks
  readonly expiresAt: number
}

export interface QueueBounds {
  readonly queueEvents: number
  readonly queueBytes: number
}

/** Drops since the last report. Times in ms since 1970. */
export interface Drops {
  readonly count: number
  /** `queue_full`: no room; `expired`: waited longer than it was worth. The reason of the latest. */
  readonly reason: 'queue_full' | 'expired'
  readonly from: number
  readonly to: number
}

export class WaitingQueue {
  readonly #bounds: QueueBounds
  readonly #waiting = new Ring<Waiting>(4)
  #bytes = 0
  #drops: Drops | undefined

  constructor(bounds: QueueBounds) {
    this.#bounds = bounds
  }

  get length(): number {
    return this.#waiting.length
  }

  /** @returns whether there was room; if not, the drop is noted */
  offer(block: Blocks, now: number, expiresAt: number): boolean {
    const { queueEvents, queueBytes } = this.#bounds
    if (this.#waiting.length >= queueEvents || this.#bytes + block.bytes.length > queueBytes) {
      this.#drop('queue_full', now)
      return false
    }
    this.#waiting.push({ block, expiresAt })
    this.#bytes += block.bytes.length
    return true
  }

  /** The oldest that is still worth sending; it stays until it is taken. */
  peek(now: number): Blocks | undefined {
    for (let next = this.#waiting.at(0); next; next = this.#waiting.at(0)) {
      if (next.expiresAt > now) return next.block
      this.take()
      this.#drop('expired', now)
    }
    return undefined
  }

  /** Takes the oldest. */
  take(): void {
    this.#bytes -= this.#waiting.shift()?.block.bytes.length ?? 0
  }

  /** What was dropped since the last call. */
  takeDrops(): Drops | undefined {
    const drops = this.#drops
    this.#drops = undefined
    return drops
  }

  #drop(reason: Drops['reason'], now: number): void {
    const { count = 0, from = now } = this.#drops ?? {}
    this.#drops = { count: count + 1, reason, from, to: now }
  }
}
