/**
 * Finds connections that look open and are dead. Every `probeMs` each is asked for an answer, and reset where none comes: so
 * silence lasts `probeMs` plus the command time-out at most, and what was sent on it is held no longer than that.
 */
import type { Redis } from 'ioredis'
import type { Timer } from '../core/clock.js'
import { diagnostics } from '../core/diagnostics.js'
import { BrokerError } from '../core/errors.js'
import { systemClock } from '../core/system-clock.js'
import { toBrokerError } from './connect.js'

export interface ProbeOptions {
  /** Those there are now. */
  readonly connections: () => readonly Redis[]
  readonly probeMs: number
  /** How long an answer may take. */
  readonly timeoutMs: number
}

export class Probe {
  readonly #options: ProbeOptions
  /** Connections that were open and not yet ready at the last look, and which socket they had. */
  #unready = new Map<Redis, unknown>()
  #timer: Timer | undefined
  #closed = false

  constructor(options: ProbeOptions) {
    this.#options = options
    this.#schedule()
  }

  close(): void {
    this.#closed = true
    this.#timer?.cancel()
  }

  #schedule(): void {
    const { probeMs } = this.#options
    if (!this.#closed) this.#timer = systemClock.after(probeMs, () => void this.#probe())
  }

  async #probe(): Promise<void> {
    const connections = this.#options.connections()
    this.#resetUnready(connections.filter(({ status }) => status === 'connect'))
    const ready = connections.filter(({ status }) => status === 'ready')
    await Promise.all(ready.map((connection) => this.#test(connection)))
    this.#schedule()
  }

  /** The handshake of a connection that was open at the last look, too, is not answered. */
  #resetUnready(connections: readonly Redis[]): void {
    const before = this.#unready
    this.#unready = new Map(connections.map((connection) => [connection, connection.stream]))
    for (const connection of connections) {
      if (before.get(connection) === connection.stream) this.#reset(connection, 'The handshake was not answered')
    }
  }

  async #test(connection: Redis): Promise<void> {
    let overdue: Timer | undefined
    const { timeoutMs } = this.#options
    const { stream } = connection
    try {
      await Promise.race([
        connection.ping(),
        new Promise<never>((_, reject) => {
          overdue = systemClock.after(timeoutMs, () => reject(new Error('Command timed out')))
        }),
      ])
    } catch (error) {
      const failure = toBrokerError(error)
      if (failure.code !== 'ERR_SSE_BROKER_TIMEOUT') report(failure)
      else if (connection.stream === stream) this.#reset(connection, `No answer within ${timeoutMs} ms`)
    } finally {
      overdue?.cancel()
    }
  }

  #reset(connection: Redis, why: string): void {
    if (this.#closed) return
    report(new BrokerError('ERR_SSE_BROKER_TIMEOUT', `${why}: the connection to Redis is reset`))
    connection.disconnect(true)
  }
}

function report(error: unknown): void {
  if (diagnostics.brokerError.hasSubscribers) diagnostics.brokerError.publish({ operation: 'probe', error })
}
