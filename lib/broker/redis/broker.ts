/**
 * publish ─► encode once ─► **broker** ─► multiplexer: the distributed broker. Logs are Redis Streams, one script
 * publishes, and a process receives on one subscriber connection (in a cluster, one for each master).
 *
 * ```
 *   publish ─► publisher   order in a channel, calls of many events, bounds on what waits
 *                 └─► commands   arguments and replies of the scripts
 *                        ├─► attempts    identity and deadline of each attempt of a call
 *                        ├─► redis/run   retries, time limit and outcome
 *                        └─► scripts     the atomic step in Redis
 *   subscribe ─► subscriber ─► placement ─► subscriber-connection
 * ```
 * Owns the broker's state and the order in which its parts close.
 */

import type { Clock } from '../../core/clock.js'
import { diagnostics } from '../../core/diagnostics.js'
import { BrokerError, InvalidOptionError } from '../../core/errors.js'
import type { EncodedEvent } from '../../core/message.js'
import type { Head, Position } from '../../core/position.js'
import { wholeNumber } from '../../core/validation.js'
import { COMMAND_TIMEOUT_MS } from '../../redis/connect.js'
import type { RedisSource } from '../../redis/source.js'
import {
  type Broker,
  type BrokerState,
  type ChannelListener,
  createProcessId,
  type HistoryPage,
  type PublishOptions,
  READ_BYTES,
} from '../broker.js'
import { type HistoryOptions, type RedisLogOptions, resolveHistoryOptions } from '../options.js'
import { RedisCommands } from './commands.js'
import { FollowedLogs } from './followed-logs.js'
import { RedisPublisher } from './publisher.js'
import { RedisSubscriber } from './subscriber.js'

export interface RedisBrokerOptions extends HistoryOptions, RedisLogOptions {
  readonly redis: RedisSource
}

export class RedisBroker implements Broker {
  readonly kind = 'redis'
  readonly processId = createProcessId()
  readonly #commands: RedisCommands
  readonly #publisher: RedisPublisher
  readonly #subscriber: RedisSubscriber
  readonly #followedLogs: FollowedLogs
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
    const otherConnections = () => this.#subscriber.connections.map(({ client }) => client)
    const log = resolveHistoryOptions(options)
    this.#commands = new RedisCommands({ ...log, redis, prefix, commandTimeoutMs, probeMs, otherConnections }, clock)
    this.#followedLogs = new FollowedLogs(log.metaTtlMs, clock, (channel) => this.#commands.openLog(channel))
    const { retentionOf } = log
    this.#publisher = new RedisPublisher(this.#commands, { commandTimeoutMs, retentionOf, clock })
    this.#subscriber = new RedisSubscriber(
      {
        client: this.#commands.client,
        commandTimeoutMs,
        whenReady: (timeoutMs) => this.#commands.whenReady(timeoutMs),
        headOf: (channel) => this.#commands.openLog(channel),
        onEntry: (channel, entry) => this.#commands.noteSeen(channel, entry),
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

  async end(channel: string, last?: EncodedEvent): Promise<Position> {
    this.#assertOpen()
    return this.#publisher.end(channel, last === undefined ? [] : [last])
  }

  offer(channel: string, event: EncodedEvent): boolean {
    return this.#state !== 'closed' && this.#publisher.offer(channel, event)
  }

  async subscribe(channel: string, listener: ChannelListener): Promise<Head> {
    this.#assertOpen()
    await this.#subscriber.subscribe(this.#commands.keys.pubSub(channel), channel, listener)
    this.#followedLogs.add(channel)
    try {
      return await this.#commands.openLog(channel)
    } catch (error) {
      await this.unsubscribe(channel, listener)
      throw error
    }
  }

  async unsubscribe(channel: string, listener: ChannelListener): Promise<void> {
    const name = this.#commands.keys.pubSub(channel)
    // Meanwhile another request may have subscribed.
    if (!this.#subscriber.has(name, listener)) return
    this.#followedLogs.delete(channel)
    await this.#subscriber.unsubscribe(name)
  }

  async read(channel: string, after: number, limit: number, maxBytes = READ_BYTES): Promise<HistoryPage> {
    this.#assertOpen()
    return this.#commands.read(channel, after, limit, maxBytes)
  }

  async heads(channels: readonly string[]): Promise<readonly Head[]> {
    this.#assertOpen()
    return Promise.all(channels.map((channel) => this.#commands.openLog(channel)))
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
    // The publisher sends at the end of the tick. The ping follows the events of this tick, so a caller that waits for
    // the reply does not overtake them.
    await new Promise(setImmediate)
    await this.#commands.ping()
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  /** Publishes the accepted events within the time limit. Then the remaining publishes are rejected and reported. */
  async #close(): Promise<void> {
    this.#state = 'closed'
    this.#followedLogs.close()
    this.#subscriber.close()
    await settledWithin(this.#commandTimeoutMs, this.#publisher.whenIdle())
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

/** Resolves when `done` does, or after `ms`. Keeps the process alive meanwhile. */
async function settledWithin(ms: number, done: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  await Promise.race([
    done,
    new Promise<void>((resolve) => {
      timer = setTimeout(resolve, ms)
    }),
  ])
  clearTimeout(timer)
}
