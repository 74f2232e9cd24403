/** Which channels this process follows: one `Channel`, and so one subscription, however many streams want it. */

import type { Broker } from '../../broker/broker.js'
import type { Clock, Timer } from '../../core/clock.js'
import { diagnostics } from '../../core/diagnostics.js'
import { BrokerError } from '../../core/errors.js'
import type { Position } from '../../core/position.js'
import { catchUpWith } from '../reader/resume.js'
import { Channel, type ChannelOptions } from './channel.js'
import { PageStore } from './page-store.js'

interface Registration {
  readonly channel: Channel
  readonly opened: Promise<void>
  /** Ends the wait for `opened`. */
  readonly abort: (reason: BrokerError) => void
  references: number
  /** Set while nobody needs it and it waits for somebody. */
  linger: Timer | undefined
}

export interface RegistryOptions extends ChannelOptions {
  readonly lingerMs: number
}

export class ChannelRegistry {
  readonly #broker: Broker
  readonly #clock: Clock
  readonly #options: RegistryOptions
  readonly #registrations = new Map<string, Registration>()

  constructor(broker: Broker, clock: Clock, options: RegistryOptions) {
    this.#broker = broker
    this.#clock = clock
    this.#options = { ...options, pages: new PageStore(clock) }
  }

  /** Channels followed now. */
  get size(): number {
    return this.#registrations.size
  }

  /**
   * The open channels, in the order of their names, each with one more reference, and caught up with a cursor. All or none: if one
   * cannot be opened, the references are given back.
   * @throws BrokerError
   */
  async acquire(names: readonly string[], cursor?: readonly Position[]): Promise<readonly Channel[]> {
    const channels = this.take(names)
    try {
      await this.ready(channels, cursor)
    } catch (error) {
      this.release(channels)
      throw error
    }
    return channels
  }

  /** As `acquire`, but at once: the channels may not be `ready`. */
  take(names: readonly string[]): readonly Channel[] {
    return names.map((name) => this.#take(name))
  }

  /**
   * When the channels are open and have caught up with a cursor.
   * @returns `undefined`: they have already
   * @throws BrokerError
   */
  ready(channels: readonly Channel[], cursor?: readonly Position[]): Promise<unknown> | undefined {
    for (const channel of channels) if (!channel.opened) return this.#open(channels, cursor)
    return cursor && catchUpWith(cursor, channels)
  }

  /** Gives back one reference to each. After the last one the subscription ends, as soon as nobody has come back for it. */
  release(channels: readonly Channel[]): void {
    for (const channel of channels) {
      const registration = this.#registrations.get(channel.name)
      if (registration?.channel !== channel || --registration.references > 0) continue
      const { lingerMs } = this.#options
      // One that could not be opened must be tried anew by whoever comes next.
      if (lingerMs === 0 || !channel.opened) this.#leave(registration)
      else registration.linger = this.#clock.after(lingerMs, () => this.#leave(registration))
    }
  }

  close(): void {
    for (const { channel, linger, abort } of this.#registrations.values()) {
      linger?.cancel()
      channel.close()
      abort(closedMeanwhile())
    }
    this.#registrations.clear()
  }

  #leave({ channel }: Registration): void {
    this.#registrations.delete(channel.name)
    channel.close()
    this.#broker.unsubscribe(channel.name).catch((error: unknown) => {
      if (diagnostics.brokerError.hasSubscribers) diagnostics.brokerError.publish({ operation: 'unsubscribe', error })
    })
  }

  async #open(channels: readonly Channel[], cursor: readonly Position[] | undefined): Promise<void> {
    await Promise.all(channels.map(({ name }) => this.#registrations.get(name)?.opened))
    if (cursor !== undefined) await catchUpWith(cursor, channels)
  }

  #take(name: string): Channel {
    let registration = this.#registrations.get(name)
    if (registration === undefined) {
      const channel = new Channel(name, this.#broker, this.#clock, this.#options)
      registration = { channel, ...open(channel), references: 0, linger: undefined }
      this.#registrations.set(name, registration)
    }
    registration.references++
    registration.linger?.cancel()
    registration.linger = undefined
    return registration.channel
  }
}

function open(channel: Channel): Pick<Registration, 'opened' | 'abort'> {
  let abort: (reason: BrokerError) => void = () => undefined
  const opened = new Promise<void>((resolve, reject) => {
    abort = reject
    channel.open().then(() => (channel.closed ? reject(closedMeanwhile()) : resolve()), reject)
  })
  // Whoever needs the channel awaits it and gets the error; when the last of these has gone, nobody does.
  opened.catch(() => undefined)
  return { opened, abort }
}

function closedMeanwhile(): BrokerError {
  return new BrokerError('ERR_SSE_CLOSED', 'The channel was closed while it was opened')
}
