/**
 * The one subscriber connection of the process. Owns which channels are subscribed and brings all of them back after an
 * interruption:
 *
 * ```
 *   connected ─► resubscribe all, each acknowledged ─► heads read ─► listeners told ─► ready
 *       ▲             │ refused, timed out                 │ fails
 *       └── new connection ◄───────────────────────────────┘            (degraded meanwhile)
 * ```
 * It holds classic subscriptions only: mixing kinds on one connection loses messages in ioredis.
 */
import type { Redis } from 'ioredis'
import { diagnostics } from '../../core/diagnostics.js'
import { BrokerError } from '../../core/errors.js'
import type { LogEntry } from '../../core/message.js'
import type { ChannelListener } from '../../core/ports.js'
import type { Head } from '../../core/position.js'
import { connectRedis, type RedisSource, toBrokerError, whenReady } from '../../redis/connect.js'
import { parseMessage } from './payload.js'

/** Channels in one SUBSCRIBE; small enough that the acknowledgements of a batch come well within the time-out. */
const BATCH = 500

export interface SubscriberOptions {
  readonly redis: RedisSource
  readonly commandTimeoutMs: number
  /** Reads where a channel's log stands. */
  readonly headOf: (channel: string) => Promise<Head>
  /** Called for each logged entry before its listener. */
  readonly onEntry: (channel: string, entry: LogEntry) => void
  readonly onStateChange: () => void
}

interface Subscription {
  readonly channel: string
  readonly listener: ChannelListener
  /** Redis has acknowledged it once; from then on it is ours to bring back. */
  acknowledged: boolean
}

export class RedisSubscriber {
  readonly client: Redis
  readonly #options: SubscriberOptions
  /** By the name of the pub/sub channel. */
  readonly #subscriptions = new Map<string, Subscription>()
  readonly #raw = new Map<string, (message: Buffer) => void>()
  /** Counts connections, so that work begun on a former one stops. */
  #connection = 0
  #ready = false

  constructor(options: SubscriberOptions) {
    this.#options = options
    const { redis, commandTimeoutMs } = options
    this.client = connectRedis(redis, { connectionName: 'express-sse-kit:subscriber', commandTimeoutMs })
    this.client.setMaxListeners(0)
    this.client.on('messageBuffer', (name: Buffer, message: Buffer) =>
      this.#onMessage(name.toString('latin1'), message),
    )
    this.client.on('ready', () => void this.#restore())
    this.client.on('close', () => {
      this.#connection++
      this.#setReady(false)
    })
  }

  /** All subscriptions stand on the present connection. */
  get ready(): boolean {
    return this.#ready
  }

  /** Resolves when Redis has acknowledged it. @throws BrokerError */
  async subscribe(name: string, channel: string, listener: ChannelListener): Promise<void> {
    const subscription: Subscription = { channel, listener, acknowledged: false }
    this.#subscriptions.set(name, subscription)
    try {
      await whenReady(this.client, this.#options.commandTimeoutMs)
      if (this.#subscriptions.get(name) !== subscription) {
        throw new BrokerError('ERR_SSE_CLOSED', 'Unsubscribed before the subscription was sent')
      }
      await this.client.subscribe(name)
      subscription.acknowledged = true
    } catch (error) {
      // Redis may have carried it out all the same; commands keep their order, so this undoes it.
      if (this.#subscriptions.get(name) === subscription) await this.unsubscribe(name)
      throw toBrokerError(error)
    }
  }

  async unsubscribe(name: string): Promise<void> {
    if (!this.#subscriptions.delete(name) || this.client.status !== 'ready') return
    try {
      await this.client.unsubscribe(name)
    } catch (error) {
      // The connection broke, and the next one will not have the subscription: done all the same.
      report('unsubscribe', error)
    }
  }

  /** A channel of the kit's own, whose messages are no entries. */
  listen(name: string, onMessage: (message: Buffer) => void): void {
    this.#raw.set(name, onMessage)
  }

  /** Gives the connection up for a new one. */
  reconnect(): void {
    this.client.disconnect(true)
  }

  close(): void {
    this.#connection++
    this.#subscriptions.clear()
    this.client.disconnect()
  }

  #onMessage(name: string, message: Buffer): void {
    const subscription = this.#subscriptions.get(name)
    if (subscription === undefined) {
      this.#raw.get(name)?.(message)
      return
    }
    const entries = parseMessage(message)
    if (entries === undefined) {
      report('message', new Error(`A message on ${name} that express-sse-kit did not publish was ignored`))
      return
    }
    for (const entry of entries) {
      if (entry.offset > 0) this.#options.onEntry(subscription.channel, entry)
      subscription.listener.onEntry(entry)
    }
  }

  async #restore(): Promise<void> {
    const connection = ++this.#connection
    try {
      const restored = [...this.#subscriptions].filter(([, { acknowledged }]) => acknowledged)
      const names = [...this.#raw.keys(), ...restored.map(([name]) => name)]
      for (let i = 0; i < names.length; i += BATCH) {
        await this.client.subscribe(...names.slice(i, i + BATCH))
        if (connection !== this.#connection) return
      }
      for (let i = 0; i < restored.length; i += BATCH) {
        await Promise.all(restored.slice(i, i + BATCH).map(([name, subscription]) => this.#resume(name, subscription)))
        if (connection !== this.#connection) return
      }
      this.#setReady(true)
    } catch (error) {
      report('resubscribe', error)
      if (connection === this.#connection) this.reconnect()
    }
  }

  async #resume(name: string, subscription: Subscription): Promise<void> {
    const head = await this.#options.headOf(subscription.channel)
    if (this.#subscriptions.get(name) === subscription) subscription.listener.onResubscribed(head)
  }

  #setReady(ready: boolean): void {
    if (this.#ready === ready) return
    this.#ready = ready
    this.#options.onStateChange()
  }
}

function report(operation: string, cause: unknown): void {
  if (!diagnostics.brokerError.hasSubscribers) return
  diagnostics.brokerError.publish({
    operation,
    error: cause instanceof BrokerError ? cause : toBrokerError(cause),
  })
}
