/**
 * One connection with subscriptions. Owns that after an interruption all of them are active again and acknowledged. Its
 * owner decides which subscriptions these are.
 *
 * ```
 *   connected ─► resubscribe all, each acknowledged ─► read heads ─► notify listeners ─► ready
 *       ▲             │ refused, timed out                 │ fails
 *       └── new connection ◄───────────────────────────────┘            (degraded meanwhile)
 * ```
 * A connection has either classic or sharded subscriptions, because ioredis loses messages if both are mixed.
 */
import type { Redis } from 'ioredis'
import { disconnect } from '../../redis/connect.js'
import { RedisConnection } from '../../redis/connection.js'
import { reportBrokerError } from '../../redis/errors.js'

/** The number of channels in one SUBSCRIBE, small enough to be acknowledged well within the time-out. */
const BATCH = 500

export interface SubscriptionOwner {
  /** The pub/sub channels that a new connection must subscribe to. */
  namesOn(connection: SubscriberConnection): readonly string[]
  /** Whether the connection must have the subscription now. */
  wants(connection: SubscriberConnection, name: string): boolean
  /** Called when these are subscribed again. Reads what was missed. If it rejects, the connection is replaced. */
  onRestored(connection: SubscriberConnection, names: readonly string[]): Promise<void>
  /** Called when other nodes serve these pub/sub channels, or (an empty list) channels that are not known yet. */
  onMoved(names: readonly string[]): void
  onMessage(connection: SubscriberConnection, name: string, message: Buffer): void
  onStateChange(): void
}

export class SubscriberConnection {
  readonly client: Redis
  readonly #redis: RedisConnection
  readonly #sharded: boolean
  readonly #owner: SubscriptionOwner
  /** For each SSUBSCRIBE without a reply: a function that treats its channel as moved. */
  readonly #unacknowledged = new Set<() => void>()
  /** The number of the current connection. Work that was started on an earlier one stops. */
  #connection = 0
  /** The connection that `reconnect` replaced last. */
  #replaced = -1
  #ready = false

  constructor(client: Redis, sharded: boolean, owner: SubscriptionOwner) {
    this.client = client
    this.#redis = RedisConnection.of(client)
    this.#sharded = sharded
    this.#owner = owner
    client.on(sharded ? 'smessageBuffer' : 'messageBuffer', (name: Buffer, message: Buffer) =>
      owner.onMessage(this, name.toString(), message),
    )
    client.on('ready', () => void this.#restore())
    client.on('close', () => {
      this.#connection++
      this.#setReady(false)
      if (sharded) owner.onMoved([])
    })
    if (sharded) this.#watchMoves()
  }

  /** All subscriptions are active on the current connection. */
  get ready(): boolean {
    return this.#ready
  }

  /**
   * Subscribes and resolves when Redis has acknowledged it.
   * @returns the pub/sub channels that another node may serve
   * @throws BrokerError
   */
  async add(names: readonly string[], timeoutMs: number): Promise<readonly string[]> {
    await this.#redis.whenReady(timeoutMs)
    return this.#subscribe(names)
  }

  async remove(name: string): Promise<void> {
    if (this.client.status !== 'ready') return
    try {
      if (this.#sharded) await this.client.sunsubscribe(name)
      else await this.client.unsubscribe(name)
    } catch (error) {
      // The connection broke or the slot moved. Either way the subscription no longer exists.
      reportBrokerError('unsubscribe', error)
    }
  }

  /** Replaces the current connection by a new one. */
  reconnect(): void {
    if (this.#replaced === this.#connection) return
    this.#replaced = this.#connection
    this.client.disconnect(true)
  }

  close(): void {
    this.#connection++
    this.#redis.release()
    disconnect(this.client)
  }

  async #subscribe(names: readonly string[]): Promise<readonly string[]> {
    const moved: string[] = []
    for (let i = 0; i < names.length; i += BATCH) {
      // Earlier batches took time. An UNSUBSCRIBE that was sent meanwhile must not be followed by its SUBSCRIBE.
      const batch = names.slice(i, i + BATCH).filter((name) => this.#owner.wants(this, name))
      if (batch.length === 0) continue
      if (this.#sharded) {
        const served = await Promise.all(batch.map((name) => this.#subscribeSharded(name)))
        moved.push(...batch.filter((_, i) => !served[i]))
      } else {
        await this.client.subscribe(...batch)
      }
    }
    return moved
  }

  /** @returns whether this node serves the pub/sub channel */
  #subscribeSharded(name: string): Promise<boolean> {
    return new Promise((resolve, reject) => {
      const onMoved = () => resolve(false)
      this.#unacknowledged.add(onMoved)
      this.client
        .ssubscribe(name)
        .then(() => resolve(true), reject)
        .finally(() => this.#unacknowledged.delete(onMoved))
    })
  }

  #watchMoves(): void {
    // The reply to one of the pending SSUBSCRIBEs was MOVED. ioredis does not report which one and never settles it, so
    // all of them are treated as moved and subscribed again.
    this.client.on('moved', () =>
      setImmediate(() => {
        for (const onMoved of this.#unacknowledged) onMoved()
      }),
    )
    // When a slot moves, Redis ends its subscriptions with a message. ioredis mistakes the message for a reply, so from
    // here on it assigns replies to the wrong commands.
    this.client.on('error', ({ message }: Error) => {
      if (message.startsWith('Command queue state error')) this.reconnect()
    })
  }

  async #restore(): Promise<void> {
    const connection = ++this.#connection
    try {
      const names = this.#owner.namesOn(this)
      const moved = new Set(await this.#subscribe(names))
      if (connection !== this.#connection) return
      await this.#owner.onRestored(
        this,
        names.filter((name) => !moved.has(name)),
      )
      if (connection !== this.#connection) return
      if (moved.size > 0) this.#owner.onMoved([...moved])
      this.#setReady(true)
    } catch (error) {
      reportBrokerError('resubscribe', error)
      if (connection === this.#connection) this.reconnect()
    }
  }

  #setReady(ready: boolean): void {
    if (this.#ready === ready) return
    this.#ready = ready
    this.#owner.onStateChange()
  }
}
