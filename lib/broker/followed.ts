/**
 * The channels that a process follows, whose logs must not be forgotten while it does. Owns that each is touched several times within the
 * logs' time, a few at a time.
 */

import type { Clock, Timer } from '../core/clock.js'
import { diagnostics } from '../core/diagnostics.js'

/** How often each is touched within `metaTtlMs`: so that a few may fail. */
const ROUNDS = 4
/** Steps of a round, so that not all are touched at once. */
const STEPS = 16
const SHORTEST_STEP_MS = 25
/** Under way at once. */
const BATCH = 100

export class FollowedLogs {
  readonly #metaTtlMs: number
  readonly #clock: Clock
  readonly #touch: (channel: string) => Promise<unknown>
  readonly #channels = new Set<string>()
  /** What is left of this round. */
  #round: string[] = []
  #timer: Timer | undefined
  #closed = false

  /** @param touch makes a log live for another `metaTtlMs` */
  constructor(metaTtlMs: number, clock: Clock, touch: (channel: string) => Promise<unknown>) {
    this.#metaTtlMs = metaTtlMs
    this.#clock = clock
    this.#touch = touch
  }

  add(channel: string): void {
    this.#channels.add(channel)
    if (this.#timer === undefined) this.#schedule()
  }

  delete(channel: string): void {
    this.#channels.delete(channel)
  }

  close(): void {
    this.#closed = true
    this.#timer?.cancel()
    this.#channels.clear()
  }

  get #stepMs(): number {
    return Math.max(SHORTEST_STEP_MS, this.#metaTtlMs / (ROUNDS * STEPS))
  }

  #schedule(): void {
    if (!this.#closed) this.#timer = this.#clock.after(this.#stepMs, () => void this.#step())
  }

  async #step(): Promise<void> {
    if (this.#round.length === 0) this.#round = [...this.#channels]
    const share = Math.ceil((this.#channels.size * this.#stepMs * ROUNDS) / this.#metaTtlMs)
    const due = this.#round.splice(0, share).filter((channel) => this.#channels.has(channel))
    for (let i = 0; i < due.length; i += BATCH) {
      await Promise.all(due.slice(i, i + BATCH).map((channel) => this.#touch(channel).catch(report)))
    }
    this.#timer = undefined
    if (this.#channels.size > 0) this.#schedule()
  }
}

function report(error: unknown): void {
  // The next round comes in time.
  if (diagnostics.brokerError.hasSubscribers) diagnostics.brokerError.publish({ operation: 'refresh', error })
}
