/**
 * The logs of the channels that this process subscribes to. Owns that none of them expires in Redis meanwhile: each log
 * is refreshed several times within `metaTtlMs`, a few logs at a time.
 */

import type { Clock, Timer } from '../../core/clock.js'
import { reportBrokerError } from '../../redis/errors.js'

/** How often each log is refreshed within `metaTtlMs`. More than once, because a refresh may fail. */
const ROUNDS = 4
/** The steps of a round, so that not all logs are refreshed at once. */
const STEPS = 16
const MIN_STEP_MS = 25
/** The maximum number of concurrent refreshes. */
const BATCH = 100

export class FollowedLogs {
  readonly #metaTtlMs: number
  readonly #clock: Clock
  readonly #refresh: (channel: string) => Promise<unknown>
  readonly #channels = new Set<string>()
  /** The channels that this round has not refreshed yet. */
  #round: string[] = []
  #timer: Timer | undefined
  #closed = false

  /** @param refresh keeps a log for another `metaTtlMs` */
  constructor(metaTtlMs: number, clock: Clock, refresh: (channel: string) => Promise<unknown>) {
    this.#metaTtlMs = metaTtlMs
    this.#clock = clock
    this.#refresh = refresh
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
    return Math.max(MIN_STEP_MS, this.#metaTtlMs / (ROUNDS * STEPS))
  }

  #schedule(): void {
    if (!this.#closed) this.#timer = this.#clock.after(this.#stepMs, () => void this.#step())
  }

  async #step(): Promise<void> {
    if (this.#round.length === 0) this.#round = [...this.#channels]
    const share = Math.ceil((this.#channels.size * this.#stepMs * ROUNDS) / this.#metaTtlMs)
    const due = this.#round.splice(0, share).filter((channel) => this.#channels.has(channel))
    for (let i = 0; i < due.length; i += BATCH) {
      await Promise.all(due.slice(i, i + BATCH).map((channel) => this.#refresh(channel).catch(onRefreshFailed)))
    }
    this.#timer = undefined
    if (this.#channels.size > 0) this.#schedule()
  }
}

function onRefreshFailed(error: unknown): void {
  // The next round refreshes the log before it expires.
  reportBrokerError('refresh', error)
}
