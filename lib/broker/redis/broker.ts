/**
 * publish ─► encode once ─► **broker** ─► multiplexer: the distributed broker. Logs in Redis Streams, published through
 * one script, received on one subscriber connection per process (in a cluster, one for each master).
 */
import { diagnostics } from '../../core/diagnostics.js'
import { BrokerError } from '../../core/errors.js'
import type { EncodedEvent } from '../../core/message.js'
import { wholeNumber } from '../../core/options.js'
import {
  type Broker,
  type BrokerState,
  type ChannelListener,
  type Clock,
  type HistoryPage,
  type PublishOptions,
  READ_BYTES,
} from '../../core/ports.js'
import type { Head, Position } from '../../core/position.js'
import { createProcessId } from '../../core/process-id.js'
import { COMMAND_TIMEOUT_MS, type RedisSource } from '../../redis/connect.js'
import { type LogOptions, resolveLogOptions } from '../options.js'
import { RedisCommands } from './commands.js'
import { Keys } from './keys.js'
import { Probe } from './probe.js'
import { RedisPublisher } from './publisher.js'
import { RedisSubscriber } from './subscriber.js'

export interface RedisBrokerOptions extends LogOptions {
  readonly redis: RedisSource
  /** Put in front of every key and channel in Redis. @defaultValue 'sse:' */
  readonly prefix?: string
  /**
   * After this a command fails, in ms, and so does one that finds no connection. One that lost its connection half-way
   * is sent again within this time, so it may take up to twice as long. @defaultValue 2000
   */
  readonly commandTimeoutMs?: number
  /**
   * How often the connections are tested, in ms. A connection that died without a word is given up after at most
   * `probeMs + commandTimeoutMs`. @defaultValue 5000
   */
  readonly probeMs?: number
}

export class RedisBroker implements Broker {
  readonly kind = 'redis'
  readonly processId = createProcessId()
  readonly #keys: Keys
  readonly #commands: RedisCommands
  readonly #publisher: RedisPublisher
  readonly #subscriber: RedisSubscriber
  readonly #probe: Probe
  #state: BrokerState = 'connecting'

  /** @throws InvalidOptionError */
  constructor(options: RedisBrokerOptions, clock: Clock) {
    const { redis, prefix = 'sse:' } = options
    const commandTimeoutMs = wholeNumber('commandTimeoutMs', options.commandTimeoutMs ?? COMMAND_TIMEOUT_MS, 1, 600_000)
    const probeMs = wholeNumber('probeMs', options.probeMs ?? 5000, 100, 600_000)
    this.#keys = new Keys(prefix)
    this.#commands = new RedisCommands({ ...resolveLogOptions(options), redis, prefix, commandTimeoutMs }, clock)
    this.#publisher = new RedisPublisher(this.#commands)
    this.#subscriber = new RedisSubscriber(
      {
        client: this.#commands.client,
        commandTimeoutMs,
        headOf: (channel) => this.#commands.open(channel),
        onEntry: (channel, entry) => this.#commands.saw(channel, entry),
        onStateChange: () => this.#updateState(),
      },
      clock,
    )
    for (const event of ['ready', 'close'] as const) this.#commands.client.on(event, () => this.#updateState())
    const connections = () => [
      ...this.#commands.connections,
      ...this.#subscriber.connections.map(({ client }) => client),
    ]
    this.#probe = new Probe(connections, probeMs, clock)
  }

  get state(): BrokerState {
    return this.#state
  }

  async publish(channel: string, event: EncodedEvent, options?: PublishOptions): Promise<Position> {
    const [position] = await this.publishMany(channel, [event], options)
    return position as Position
  }

  async publishMany(
    channel: string,
    events: readonly EncodedEvent[],
    { idempotencyKey }: PublishOptions = {},
  ): Promise<readonly Position[]> {
    this.#assertOpen()
    return this.#publisher.publish(channel, events, idempotencyKey)
  }

  offer(channel: string, event: EncodedEvent): boolean {
    return this.#state !== 'closed' && this.#publisher.offer(channel, event)
  }

  async subscribe(channel: string, listener: ChannelListener): Promise<Head> {
    this.#assertOpen()
    await this.#subscriber.subscribe(this.#keys.name(channel), channel, listener)
    try {
      return await this.#commands.open(channel)
    } catch (error) {
      await this.unsubscribe(channel)
      throw error
    }
  }

  async unsubscribe(channel: string): Promise<void> {
    await this.#subscriber.unsubscribe(this.#keys.name(channel))
  }

  async read(channel: string, after: number, limit: number, maxBytes = READ_BYTES): Promise<HistoryPage> {
    this.#assertOpen()
    return this.#commands.read(channel, after, limit, maxBytes)
  }

  async heads(channels: readonly string[]): Promise<readonly Head[]> {
    this.#assertOpen()
    return Promise.all(channels.map((channel) => this.#commands.open(channel)))
  }

  async signal(processId: string | undefined, text: string): Promise<number> {
    this.#assertOpen()
    return this.#commands.signal(this.#keys.signals(processId), text)
  }

  onSignal(listener: (text: string) => void): void {
    for (const name of [this.#keys.signals(), this.#keys.signals(this.processId)]) {
      this.#subscriber.listen(name, (message) => listener(message.toString()))
    }
  }

  async ping(): Promise<void> {
    this.#assertOpen()
    if (this.#state === 'degraded') {
      throw new BrokerError('ERR_SSE_BROKER_UNAVAILABLE', 'The connection to Redis is being restored')
    }
    await this.#commands.ping()
  }

  async close(): Promise<void> {
    if (this.#state === 'closed') return
    this.#state = 'closed'
    this.#probe.close()
    this.#subscriber.close()
    this.#commands.client.disconnect()
  }

  #updateState(): void {
    if (this.#state === 'closed') return
    const healthy = this.#subscriber.ready && this.#commands.client.status === 'ready'
    const state = healthy ? 'ready' : this.#state === 'connecting' ? 'connecting' : 'degraded'
    if (state === this.#state) return
    this.#state = state
    if (diagnostics.brokerState.hasSubscribers) diagnostics.brokerState.publish({ state })
  }

  #assertOpen(): void {
    if (this.#state === 'closed') throw new BrokerError('ERR_SSE_CLOSED', 'The broker was closed')
  }
}
