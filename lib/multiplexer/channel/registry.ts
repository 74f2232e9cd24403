/**
 * The channels that this process follows: one `Channel`, and so one subscription, for any number of streams. Owns the
 * references to each channel.
 */

import type { Broker } from '../../broker/broker.js'
import type { Clock, Timer } from '../../core/clock.js'
import { diagnostics, reportTo } from '../../core/diagnostics.js'
import { BrokerError } from '../../core/errors.js'
import type { Position } from '../../core/position.js'
import { Channel, type ChannelOptions } from './channel.js'
import { PageStore } from './page-store.js'

interface Registration {
  readonly channel: Channel
  readonly opened: Promise<void>
  /** Rejects `opened`. */
  readonly abort: (reason: BrokerError) => void
  references: number
  /** Set while the channel has no references and is still followed. */
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

  /** The number of channels followed now. */
  get size(): number {
    return this.#registrations.size
  }

  /**
   * Adds a reference to each channel, opens the channels, and waits until they include the cursor's positions. All or
   * none: if a channel cannot be opened, the references are released.
   * @returns the channels, in the order of the names
   * @throws BrokerError
   */
  async acquire(names: readonly string[], cursor?: readonly Position[]): Promise<readonly Channel[]> {
    const channels = this.reference(names)
    try {
      await this.ready(channels, cursor)
    } catch (error) {
      this.release(channels)
      throw error
    }
    return channels
  }

  /** Adds a reference to each channel, without waiting: the channels may not be `ready`. */
  reference(names: readonly string[]): readonly Channel[] {
    return names.map((name) => this.#reference(name))
  }

  /**
   * Resolves when the channels are open and include the cursor's positions. `undefined`: they already are and do, as
   * usual.
   * @throws BrokerError
   */
  ready(channels: readonly Channel[], cursor?: readonly Position[]): Promise<unknown> | undefined {
    for (const channel of channels) if (!channel.opened) return this.#open(channels, cursor)
    return cursor && catchUpWith(cursor, channels)
  }

  /** Releases one reference to each channel. A channel without references is unsubscribed after `lingerMs`. */
  release(channels: readonly Channel[]): void {
    for (const channel of channels) {
      const registration = this.#registrations.get(channel.name)
      if (registration?.channel !== channel || --registration.references > 0) continue
      const { lingerMs } = this.#options
      // A channel that failed to open is removed immediately, so that the next request opens it again.
      if (lingerMs === 0 || !channel.opened) this.#unsubscribe(registration)
      else registration.linger = this.#clock.after(lingerMs, () => this.#unsubscribe(registration))
    }
  }

  close(): void {
    for (const { channel, linger, abort } of this.#registrations.values()) {
      linger?.cancel()
      channel.close()
      abort(closedWhileOpening())
    }
    this.#registrations.clear()
  }

  #unsubscribe({ channel }: Registration): void {
    this.#registrations.delete(channel.name)
    channel.close()
    this.#broker.unsubscribe(channel.name, channel).catch((error: unknown) => {
      reportTo(diagnostics.brokerError, 'unsubscribe', error)
    })
  }

  async #open(channels: readonly Channel[], cursor: readonly Position[] | undefined): Promise<void> {
    await Promise.all(channels.map(({ name }) => this.#registrations.get(name)?.opened))
    if (cursor !== undefined) await catchUpWith(cursor, channels)
  }

  #reference(name: string): Channel {
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
    channel.open().then(() => (channel.closed ? reject(closedWhileOpening()) : resolve()), reject)
  })
  // The requests that need the channel await `opened` and get the error. Without such a request, nothing awaits it.
  opened.catch(() => undefined)
  return { opened, abort }
}

function closedWhileOpening(): BrokerError {
  return new BrokerError(
    'ERR_SSE_CLOSED',
    'The channel was closed while it was being opened: this process is shutting down',
  )
}

/**
 * Lets the channels catch up with a cursor: one from another process, or from `Multiplexer.cursor`, may be ahead of the
 * entries delivered here.
 * @returns `undefined`: the channels include all its positions, as usual
 * @throws BrokerError if the broker was asked for a head and failed
 */
export function catchUpWith(cursor: readonly Position[], channels: readonly Channel[]): Promise<unknown> | undefined {
  for (const channel of channels) {
    if (!reaches(channel, cursor)) return Promise.all(channels.map((each) => catchUpTo(each, cursor)))
  }
  return undefined
}

/** The first request may have begun before this call, for another stream; the second has not. */
async function catchUpTo(channel: Channel, cursor: readonly Position[]): Promise<void> {
  for (let requests = 0; requests < 2 && !reaches(channel, cursor); requests++) await channel.catchUp()
  // Otherwise the cursor would seem to be ahead of the log.
  if (channel.closed) throw closedWhileOpening()
}

/** Whether the cursor's position in the channel is known to be in the log, delivered here or not. */
function reaches(channel: Channel, cursor: readonly Position[]): boolean {
  const position = channel.positionIn(cursor)
  return position !== undefined && position.offset <= channel.known
}
