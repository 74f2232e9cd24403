/**
 * Finds connections that look open but are dead. Each connection gets a PING every `probeMs` and is reset if no reply
 * arrives. So a dead connection is detected after at most `probeMs` plus the command time-out, and the commands written
 * to it are not held longer than that.
 */
import type { Redis } from 'ioredis'
import type { Timer } from '../core/clock.js'
import { BrokerError } from '../core/errors.js'
import { systemClock } from '../core/system-clock.js'
import { reportBrokerError, toBrokerError } from './errors.js'

export interface ProbeOptions {
  /** Returns the connections to test now. */
  readonly connections: () => readonly Redis[]
  readonly probeMs: number
  /** The time limit of a reply, in ms. */
  readonly timeoutMs: number
}

export class Probe {
  readonly #options: ProbeOptions
  /** The connections that were open but not ready at the last probe, each with the socket it had. */
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

  /** Resets a connection whose socket was already open at the last probe: its handshake got no reply. */
  #resetUnready(connections: readonly Redis[]): void {
    const before = this.#unready
    this.#unready = new Map(connections.map((connection) => [connection, connection.stream]))
    for (const connection of connections) {
      if (before.get(connection) === connection.stream) this.#reset(connection, 'The handshake got no reply')
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
      if (failure.code !== 'ERR_SSE_BROKER_TIMEOUT') reportBrokerError('probe', failure)
      else if (connection.stream === stream) this.#reset(connection, `No reply to PING within ${timeoutMs} ms`)
    } finally {
      overdue?.cancel()
    }
  }

  #reset(connection: Redis, reason: string): void {
    if (this.#closed) return
    reportBrokerError(
      'probe',
      new BrokerError('ERR_SSE_BROKER_TIMEOUT', `${reason}: the connection to Redis is reset and will be reopened`),
    )
    connection.disconnect(true)
  }
}
