/**
 * publish ─► encode once ─► **broker** ─► multiplexer: the distributed broker. Logs in Redis Streams, published through
 * one script, received on one subscriber connection per process (in a cluster, one for each master).
 */

import type { Clock } from '../../core/clock.js'
import { diagnostics } from '../../core/diagnostics.js'
import { BrokerError, InvalidOptionError } from '../../core/errors.js'
import type { EncodedEvent } from '../../core/message.js'
import type { Head, Position } from '../../core/position.js'
import { wholeNumber } from '../../core/validation.js'
import { COMMAND_TIMEOUT_MS, type RedisSource } from '../../redis/connect.js'
import {
  type Broker,
  type BrokerState,
  type ChannelListener,
  createProcessId,
  type HistoryPage,
  type PublishOptions,
  READ_BYTES,
} from '../broker.js'
import { FollowedLogs } from '../followed.js'
import { type HistoryOptions, resolveHistoryOptions } from '../options.js'
import { RedisCommands } from './commands.js'
import { RedisPublisher } from './publisher.js'
import { RedisSubscriber } from './subscriber.js'

export interface RedisBrokerOptions extends HistoryOptions {
  readonly redis: RedisSource
  /**
   * Put in front of every key and channel in Redis. What comes from the same database, `keyPrefix` and `prefix` meets.
   * @defaultValue 'sse:'
   */
  readonly prefix?: string
  /**
   * After this a command fails, in ms, the wait for the connection and all tries included. `close` waits so long for what was taken.
   * @defaultValue 2000
   */
  readonly commandTimeoutMs?: number
  /**
   * How often the connections are tested, in ms. A connection that died without a word is reset after at most
   * `probeMs + commandTimeoutMs`; what was written to it counts against the bounds until then. @defaultValue 5000
   */
  readonly probeMs?: number
}

export class RedisBroker implements Broker {
  readonly kind = 'redis'
  readonly processId = createProcessId()
  readonly #commands: RedisCommands
  readonly #publisher: RedisPublisher
  readonly #subscriber: RedisSubscriber
  readonly #followed: FollowedLogs
  readonly #commandTimeoutMs: number
  #state: BrokerState = 'connecting'
  #closing: Promise<void> | undefined

  /** @throws InvalidOptionError */
  constructor(options: RedisBrokerOptions, clock: Clock) {
    const { redis, prefix = 'sse:' } = options
    if (typeof prefix !== 'string') throw new InvalidOptionError('prefix must be a string')
    const commandTimeoutMs = wholeNumber('commandTimeoutMs', options.commandTimeoutMs ?? COMMAND_TIMEOUT_MS, 1, 600_000)
    const probeMs = wholeNumber('probeMs', options.probeMs ?? 5000, 100, 600_000)
    this.#commandTimeoutMs = commandTimeoutMs
    const others = () => this.#subscriber.connections.map(({ client }) => client)
    const log = resolveHistoryOptions(options)
    this.#commands = new RedisCommands({ ...log, redis, prefix, commandTimeoutMs, probeMs, others }, clock)
    this.#followed = new FollowedLogs(log.metaTtlMs, clock, (channel) => this.#commands.open(channel))
    this.#publisher = new RedisPublisher(this.#commands, { commandTimeoutMs, historySize: log.historySize, clock })
    this.#subscriber = new RedisSubscriber(
      {
        client: this.#commands.client,
        commandTimeoutMs,
        connected: (timeoutMs) => this.#commands.connected(timeoutMs),
        headOf: (channel) => this.#commands.open(channel),
        onEntry: (channel, entry) => this.#commands.saw(channel, entry),
        onStateChange: () => this.#updateState(),
      },
      clock,
    )
    for (const event of ['ready', 'close'] as const) this.#commands.client.on(event, () => this.#updateState())
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
    await this.#subscriber.subscribe(this.#commands.keys.name(channel), channel, listener)
    this.#followed.add(channel)
    try {
      return await this.#commands.open(channel)
    } catch (error) {
      await this.unsubscribe(channel)
      throw error
    }
  }

  async unsubscribe(channel: string): Promise<void> {
    this.#followed.delete(channel)
    await this.#subscriber.unsubscribe(this.#commands.keys.name(channel))
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
    return this.#commands.signal(this.#commands.keys.signals(processId), text)
  }

  onSignal(listener: (text: string) => void): void {
    for (const name of [this.#commands.keys.signals(), this.#commands.keys.signals(this.processId)]) {
      this.#subscriber.listen(name, (message) => listener(message.toString()))
    }
  }

  async ping(): Promise<void> {
    this.#assertOpen()
    if (this.#state === 'degraded') {
      throw new BrokerError('ERR_SSE_BROKER_UNAVAILABLE', 'The connection to Redis is being restored')
    }
    // Behind what this tick has published: who waits for the answer does not get ahead of it.
    await new Promise(setImmediate)
    await this.#commands.ping()
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  /** What was taken is published first, as far as Redis answers in time; what is left then has failed, and is reported. */
  async #close(): Promise<void> {
    this.#state = 'closed'
    this.#followed.close()
    this.#subscriber.close()
    await within(this.#commandTimeoutMs, this.#publisher.idle())
    this.#publisher.close()
    this.#commands.close()
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

/** Resolves with it, or when the time has passed. Keeps the process alive. */
async function within(ms: number, done: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  await Promise.race([
    done,
    new Promise<void>((resolve) => {
      timer = setTimeout(resolve, ms)
    }),
  ])
  clearTimeout(timer)
}
