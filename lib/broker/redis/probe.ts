/**
 * Finds connections that look open and are dead. Every `probeMs` a message goes out on the command connection to a
 * channel of this process's own and must come back on the subscriber connection; whichever side fails is given up for a
 * new connection. So silence lasts `probeMs` plus the command time-out, or about twice that where both died at once: the
 * command connection is replaced first, and then carries the probe that finds the other.
 */
import { diagnostics } from '../../core/diagnostics.js'
import type { Clock, Timer } from '../../core/ports.js'
import { toBrokerError } from '../../redis/connect.js'
import type { RedisCommands } from './commands.js'
import type { RedisSubscriber } from './subscriber.js'

export class Probe {
  readonly #name: string
  readonly #probeMs: number
  readonly #timeoutMs: number
  readonly #commands: RedisCommands
  readonly #subscriber: RedisSubscriber
  readonly #clock: Clock
  #timer: Timer | undefined
  #sent = 0
  #received = 0
  #closed = false

  constructor(
    options: { name: string; probeMs: number; timeoutMs: number; commands: RedisCommands; subscriber: RedisSubscriber },
    clock: Clock,
  ) {
    this.#name = options.name
    this.#probeMs = options.probeMs
    this.#timeoutMs = options.timeoutMs
    this.#commands = options.commands
    this.#subscriber = options.subscriber
    this.#clock = clock
    this.#subscriber.listen(this.#name, (message) => {
      this.#received = Math.max(this.#received, Number(message.toString('latin1')))
    })
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
    const { client } = this.#commands
    if (client.status !== 'ready') {
      this.#schedule()
      return
    }
    const number = ++this.#sent
    const subscriberReady = this.#subscriber.ready
    try {
      await client.publish(this.#name, String(number))
    } catch (error) {
      this.#report(error)
      if (toBrokerError(error).code === 'ERR_SSE_BROKER_TIMEOUT') client.disconnect(true)
      this.#schedule()
      return
    }
    if (this.#closed) return
    this.#timer = this.#clock.after(this.#timeoutMs, () => {
      if (subscriberReady && this.#subscriber.ready && this.#received < number) {
        this.#report(new Error('The subscriber connection did not deliver the probe'))
        this.#subscriber.reconnect()
      }
      this.#schedule()
    })
  }

  #report(error: unknown): void {
    if (diagnostics.brokerError.hasSubscribers) diagnostics.brokerError.publish({ operation: 'probe', error })
  }
}
