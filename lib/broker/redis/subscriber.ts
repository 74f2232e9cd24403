/**
 * The subscriptions of this process: one for each channel with streams here, and those for the kit's signals. Owns that
 * each subscription is on the connection where its messages arrive (see placement.ts), and that its listener is
 * notified when it may have missed entries.
 */

import type { Clock } from '../../core/clock.js'
import { BrokerError, SseError } from '../../core/errors.js'
import type { LogEntry } from '../../core/message.js'
import type { Head } from '../../core/position.js'
import { isCluster, type RedisClient } from '../../redis/connect.js'
import { reportBrokerError, toBrokerError } from '../../redis/errors.js'
import type { ChannelListener } from '../broker.js'
import { parseMessage } from './payload.js'
import { ClusterPlacement, type Placement, SinglePlacement } from './placement.js'
import type { SubscriberConnection, SubscriptionOwner } from './subscriber-connection.js'

/** The maximum number of heads that are read concurrently. */
const BATCH = 500
const RETRY_PAUSE_MS = 100

export interface SubscriberOptions {
  /** The connection for commands. */
  readonly client: RedisClient
  readonly commandTimeoutMs: number
  /** Resolves when there is a connection for commands. @throws BrokerError */
  readonly whenReady: (timeoutMs: number) => Promise<void>
  /** Reads the head of a channel's log. */
  readonly headOf: (channel: string) => Promise<Head>
  /** Called for each logged entry before its listener. */
  readonly onEntry: (channel: string, entry: LogEntry) => void
  readonly onStateChange: () => void
}

interface Subscription {
  /** `undefined`: for messages that are not log entries. */
  readonly listener: ChannelListener | undefined
  readonly onMessage: (message: Buffer) => void
  /** Reads the log's head and notifies the listener. */
  readonly notifyResubscribed: () => Promise<void>
  /** The connection that has the subscription or is about to get it; `undefined` while its node is unknown. */
  connection: SubscriberConnection | undefined
  /**
   * A new connection must subscribe again. `false` until Redis has acknowledged the first subscription, whose caller
   * handles its failure.
   */
  mustRestore: boolean
}

export class RedisSubscriber implements SubscriptionOwner {
  readonly #options: SubscriberOptions
  readonly #clock: Clock
  readonly #placement: Placement
  /** By the name of the pub/sub channel. */
  readonly #subscriptions = new Map<string, Subscription>()
  /** The subscriptions that are moving to another connection. */
  readonly #moving = new Set<Subscription>()
  #closed = false

  constructor(options: SubscriberOptions, clock: Clock) {
    this.#options = options
    this.#clock = clock
    const { client, commandTimeoutMs } = options
    const connect = { connectionName: 'express-sse-kit:subscriber', commandTimeoutMs }
    this.#placement = isCluster(client)
      ? new ClusterPlacement(client, connect, this, () => this.#moveMisplaced(), clock)
      : new SinglePlacement(client, connect, this)
  }

  /** All subscriptions are active. */
  get ready(): boolean {
    return this.#moving.size === 0 && this.connections.every(({ ready }) => ready)
  }

  get connections(): readonly SubscriberConnection[] {
    return this.#placement.connections
  }

  /** Resolves when Redis has acknowledged the subscription. @throws BrokerError */
  async subscribe(name: string, channel: string, listener: ChannelListener): Promise<void> {
    const subscription: Subscription = {
      listener,
      onMessage: (message) => this.#deliver(name, channel, listener, message),
      notifyResubscribed: async () => {
        const head = await this.#options.headOf(channel)
        if (this.#subscriptions.get(name) === subscription) listener.onResubscribed(head)
      },
      connection: undefined,
      mustRestore: false,
    }
    this.#subscriptions.set(name, subscription)
    try {
      await this.#place(name, subscription)
      subscription.mustRestore = true
    } catch (error) {
      // Redis may have subscribed nevertheless. Commands keep their order, so this undoes it.
      if (this.#subscriptions.get(name) === subscription) await this.unsubscribe(name)
      throw toBrokerError(error)
    }
  }

  /** Whether the listener has the subscription. */
  has(name: string, listener: ChannelListener): boolean {
    return this.#subscriptions.get(name)?.listener === listener
  }

  async unsubscribe(name: string): Promise<void> {
    const subscription = this.#subscriptions.get(name)
    if (subscription === undefined) return
    this.#subscriptions.delete(name)
    this.#moving.delete(subscription)
    await subscription.connection?.remove(name)
  }

  /** Subscribes to a pub/sub channel of the kit whose messages are not log entries. */
  listen(name: string, onMessage: (message: Buffer) => void): void {
    const connection = this.#placement.connectionFor(name)
    this.#subscriptions.set(name, {
      listener: undefined,
      onMessage,
      notifyResubscribed: noop,
      connection,
      mustRestore: true,
    })
  }

  close(): void {
    this.#closed = true
    this.#subscriptions.clear()
    this.#placement.close()
  }

  namesOn(connection: SubscriberConnection): readonly string[] {
    const names: string[] = []
    for (const [name, subscription] of this.#subscriptions) {
      if (subscription.mustRestore && subscription.connection === connection) names.push(name)
    }
    return names
  }

  wants(connection: SubscriberConnection, name: string): boolean {
    return this.#subscriptions.get(name)?.connection === connection
  }

  async onRestored(connection: SubscriberConnection, names: readonly string[]): Promise<void> {
    for (let i = 0; i < names.length; i += BATCH) {
      await Promise.all(names.slice(i, i + BATCH).map((name) => this.#onSubscribedAgain(name, connection)))
    }
  }

  onMoved(names: readonly string[]): void {
    for (const name of names) this.#markMoved(name)
    this.#placement.refresh()
  }

  onMessage(connection: SubscriberConnection, name: string, message: Buffer): void {
    const subscription = this.#subscriptions.get(name)
    // The previous connection may deliver older messages after the new one, as if the log had gone back.
    if (subscription?.connection === connection) subscription.onMessage(message)
  }

  onStateChange(): void {
    this.#options.onStateChange()
  }

  #deliver(name: string, channel: string, listener: ChannelListener, message: Buffer): void {
    const parsed = parseMessage(message)
    if (parsed === undefined) {
      const text = `Ignored a message on the pub/sub channel ${name} that express-sse-kit did not publish`
      reportBrokerError('message', new SseError('ERR_SSE_MESSAGE_FOREIGN', text))
      return
    }
    for (const entry of parsed.entries) {
      if (entry.offset > 0) this.#options.onEntry(channel, entry)
      listener.onEntry(entry)
    }
    if (parsed.end !== undefined) listener.onEnded(parsed.end)
  }

  /** Subscribes on the node that serves the channel. In a cluster the first node may be the wrong one. */
  async #place(name: string, subscription: Subscription): Promise<void> {
    const { commandTimeoutMs } = this.#options
    const deadline = this.#clock.now() + commandTimeoutMs
    for (;;) {
      const leftMs = Math.max(1, deadline - this.#clock.now())
      await this.#options.whenReady(leftMs)
      this.#assertNeeded(name, subscription)
      subscription.connection = this.#placement.connectionFor(name)
      const moved = await subscription.connection?.add([name], leftMs)
      this.#assertNeeded(name, subscription)
      if (moved?.length === 0) return
      if (this.#clock.now() >= deadline) {
        throw new BrokerError('ERR_SSE_BROKER_UNAVAILABLE', `No node of the Redis cluster serves ${name}`)
      }
      this.#placement.refresh()
      await new Promise((resolve) => setTimeout(resolve, RETRY_PAUSE_MS))
    }
  }

  /** @throws BrokerError `ERR_SSE_CLOSED` */
  #assertNeeded(name: string, subscription: Subscription): void {
    if (this.#subscriptions.get(name) === subscription) return
    throw new BrokerError('ERR_SSE_CLOSED', 'The channel was unsubscribed while it was being subscribed')
  }

  /** Moves the subscriptions that another node serves now. */
  #moveMisplaced(): void {
    for (const [name, subscription] of this.#subscriptions) {
      if (!subscription.mustRestore) continue
      const connection = this.#placement.connectionFor(name)
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
      else await this.#onSubscribedAgain(name, to)
    } catch (error) {
      if (this.#closed) return
      reportBrokerError('resubscribe', error)
      // A connection that is not ready restores all of its subscriptions when it becomes ready.
      if (to.client.status === 'ready') to.reconnect()
    }
  }

  async #onSubscribedAgain(name: string, connection: SubscriberConnection): Promise<void> {
    const subscription = this.#subscriptions.get(name)
    if (subscription?.connection !== connection) return
    await subscription.notifyResubscribed()
    if (subscription.connection === connection && this.#moving.delete(subscription)) this.onStateChange()
  }

  /** The subscription is not on its connection any more, and its new node is unknown. */
  #markMoved(name: string): void {
    const subscription = this.#subscriptions.get(name)
    if (subscription === undefined) return
    subscription.connection = undefined
    this.#moving.add(subscription)
    this.onStateChange()
  }
}

async function noop(): Promise<void> {
  // Nothing that was missed can be read again.
}
