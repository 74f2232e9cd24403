/**
 * Finds connections that look open and are dead. Every `probeMs` each is asked for an answer, and given up for a new one
 * where none comes: so silence lasts `probeMs` plus the command time-out at most.
 */
import type { Redis } from 'ioredis'
import { diagnostics } from '../../core/diagnostics.js'
import type { Clock, Timer } from '../../core/ports.js'
import { toBrokerError } from '../../redis/connect.js'

export class Probe {
  readonly #connections: () => readonly Redis[]
  readonly #probeMs: number
  readonly #clock: Clock
  #timer: Timer | undefined
  #closed = false

  /** @param connections those there are now, with a command time-out */
  constructor(connections: () => readonly Redis[], probeMs: number, clock: Clock) {
    this.#connections = connections
    this.#probeMs = probeMs
    this.#clock = clock
    this.#schedule()
  }

  close(): void {
    this.#closed = true
    this.#timer?.cancel()
  }

  #schedule(): void {
    if (!this.#closed) this.#timer = this.#clock.after(this.#probeMs, () => void this.#probe())
  }

  async #probe(): Promise<void> {
    const connected = this.#connections().filter(({ status }) => status === 'ready')
    await Promise.all(connected.map((connection) => this.#test(connection)))
    this.#schedule()
  }

  async #test(connection: Redis): Promise<void> {
    try {
      await connection.ping()
    } catch (error) {
      if (diagnostics.brokerError.hasSubscribers) diagnostics.brokerError.publish({ operation: 'probe', error })
      if (toBrokerError(error).code === 'ERR_SSE_BROKER_TIMEOUT') connection.disconnect(true)
    }
  }
}
