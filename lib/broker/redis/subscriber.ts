/**
 * The subscriptions of the process: one for each channel that is followed here, and a few of the kit's own. Owns that each
 * is on the connection where its messages arrive (see placement.ts), and that whoever may have missed something is told.
 */

import type { Clock } from '../../core/clock.js'
import { BrokerError, SseError } from '../../core/errors.js'
import type { LogEntry } from '../../core/message.js'
import type { Head } from '../../core/position.js'
import { isCluster, type RedisClient, toBrokerError } from '../../redis/connect.js'
import type { ChannelListener } from '../broker.js'
import { parseMessage } from './payload.js'
import { ClusterPlacement, type Placement, SinglePlacement } from './placement.js'
import { report, type SubscriberConnection, type SubscriptionOwner } from './subscriber-connection.js'

/** Heads read at once. */
const BATCH = 500
const RETRY_PAUSE_MS = 100

export interface SubscriberOptions {
  /** The connection for commands. */
  readonly client: RedisClient
  readonly commandTimeoutMs: number
  /** Resolves when there is a connection for commands. @throws BrokerError */
  readonly connected: (timeoutMs: number) => Promise<void>
  /** Reads where a channel's log stands. */
  readonly headOf: (channel: string) => Promise<Head>
  /** Called for each logged entry before its listener. */
  readonly onEntry: (channel: string, entry: LogEntry) => void
  readonly onStateChange: () => void
}

interface Subscription {
  readonly onMessage: (message: Buffer) => void
  /** Reads what was missed, and tells of it. */
  readonly resume: () => Promise<void>
  /** Where it is, or is being put; `undefined` until that is known. */
  connection: SubscriberConnection | undefined
  /** Redis has acknowledged it once, or it was there from the beginning: it is ours to bring back. */
  kept: boolean
}

export class RedisSubscriber implements SubscriptionOwner {
  readonly #options: SubscriberOptions
  readonly #clock: Clock
  readonly #placement: Placement
  /** By the name of the pub/sub channel. */
  readonly #subscriptions = new Map<string, Subscription>()
  /** Those on their way to another connection. */
  readonly #moving = new Set<Subscription>()
  #closed = false

  constructor(options: SubscriberOptions, clock: Clock) {
    this.#options = options
    this.#clock = clock
    const { client, commandTimeoutMs } = options
    const connect = { connectionName: 'express-sse-kit:subscriber', commandTimeoutMs }
    this.#placement = isCluster(client)
      ? new ClusterPlacement(client, connect, this, () => this.#settle(), clock)
      : new SinglePlacement(client, connect, this)
  }

  /** All subscriptions stand. */
  get ready(): boolean {
    return this.#moving.size === 0 && this.connections.every(({ ready }) => ready)
  }

  get connections(): readonly SubscriberConnection[] {
    return this.#placement.connections
  }

  /** Resolves when Redis has acknowledged it. @throws BrokerError */
  async subscribe(name: string, channel: string, listener: ChannelListener): Promise<void> {
    const subscription: Subscription = {
      onMessage: (message) => this.#deliver(name, channel, listener, message),
      resume: async () => {
        const head = await this.#options.headOf(channel)
        if (this.#subscriptions.get(name) === subscription) listener.onResubscribed(head)
      },
      connection: undefined,
      kept: false,
    }
    this.#subscriptions.set(name, subscription)
    try {
      await this.#place(name, subscription)
      subscription.kept = true
    } catch (error) {
      // Redis may have carried it out all the same; commands keep their order, so this undoes it.
      if (this.#subscriptions.get(name) === subscription) await this.unsubscribe(name)
      throw toBrokerError(error)
    }
  }

  async unsubscribe(name: string): Promise<void> {
    const subscription = this.#subscriptions.get(name)
    if (subscription === undefined) return
    this.#subscriptions.delete(name)
    this.#moving.delete(subscription)
    await subscription.connection?.remove(name)
  }

  /** A channel of the kit's own, whose messages are no entries. */
  listen(name: string, onMessage: (message: Buffer) => void): void {
    const resume = () => Promise.resolve()
    this.#subscriptions.set(name, { onMessage, resume, connection: this.#placement.at(name), kept: true })
  }

  close(): void {
    this.#closed = true
    this.#subscriptions.clear()
    this.#placement.close()
  }

  namesOn(connection: SubscriberConnection): readonly string[] {
    const names: string[] = []
    for (const [name, subscription] of this.#subscriptions) {
      if (subscription.kept && subscription.connection === connection) names.push(name)
    }
    return names
  }

  async onRestored(connection: SubscriberConnection, names: readonly string[]): Promise<void> {
    for (let i = 0; i < names.length; i += BATCH) {
      await Promise.all(names.slice(i, i + BATCH).map((name) => this.#resume(name, connection)))
    }
  }

  onMoved(names: readonly string[]): void {
    for (const name of names) this.#lose(name)
    this.#placement.refresh()
  }

  onMessage(connection: SubscriberConnection, name: string, message: Buffer): void {
    const subscription = this.#subscriptions.get(name)
    // From where it was until a moment ago it may come too, which would look like a log that went back.
    if (subscription?.connection === connection) subscription.onMessage(message)
  }

  onStateChange(): void {
    this.#options.onStateChange()
  }

  #deliver(name: string, channel: string, listener: ChannelListener, message: Buffer): void {
    const entries = parseMessage(message)
    if (entries === undefined) {
      report(
        'message',
        new SseError(
          'ERR_SSE_MESSAGE_FOREIGN',
          `A message on ${name} that express-sse-kit did not publish was ignored`,
        ),
      )
      return
    }
    for (const entry of entries) {
      if (entry.offset > 0) this.#options.onEntry(channel, entry)
      listener.onEntry(entry)
    }
  }

  /** Finds the connection for a new subscription, which in a cluster may take more than one look. */
  async #place(name: string, subscription: Subscription): Promise<void> {
    const { commandTimeoutMs } = this.#options
    const deadline = this.#clock.now() + commandTimeoutMs
    for (;;) {
      const left = Math.max(1, deadline - this.#clock.now())
      await this.#options.connected(left)
      if (this.#subscriptions.get(name) !== subscription) {
        throw new BrokerError('ERR_SSE_CLOSED', 'Unsubscribed before the subscription was sent')
      }
      subscription.connection = this.#placement.at(name)
      const moved = await subscription.connection?.add([name], left)
      if (moved?.length === 0) return
      if (this.#clock.now() >= deadline) {
        throw new BrokerError('ERR_SSE_BROKER_UNAVAILABLE', `No node of the cluster serves ${name}`)
      }
      this.#placement.refresh()
      await new Promise((resolve) => setTimeout(resolve, RETRY_PAUSE_MS))
    }
  }

  /** Who serves what may have changed: what is elsewhere now is moved there. */
  #settle(): void {
    for (const [name, subscription] of this.#subscriptions) {
      if (!subscription.kept) continue
      const connection = this.#placement.at(name)
      if (connection !== undefined && connection !== subscription.connection) {
        void this.#move(name, subscription, connection)
      }
    }
    this.onStateChange()
  }

  async #move(name: string, subscription: Subscription, to: SubscriberConnection): Promise<void> {
    subscription.connection = to
    this.#moving.add(subscription)
    try {
      const moved = await to.add([name], this.#options.commandTimeoutMs)
      if (moved.length > 0) this.onMoved(moved)
      else await this.#resume(name, to)
    } catch (error) {
      if (this.#closed) return
      report('resubscribe', error)
      // Otherwise it is brought back with all others, once there is a connection.
      if (to.client.status === 'ready') to.reconnect()
    }
  }

  async #resume(name: string, connection: SubscriberConnection): Promise<void> {
    const subscription = this.#subscriptions.get(name)
    if (subscription?.connection !== connection) return
    await subscription.resume()
    if (subscription.connection === connection && this.#moving.delete(subscription)) this.onStateChange()
  }

  /** It is not where it was. */
  #lose(name: string): void {
    const subscription = this.#subscriptions.get(name)
    if (subscription === undefined) return
    subscription.connection = undefined
    this.#moving.add(subscription)
    this.onStateChange()
  }
}
