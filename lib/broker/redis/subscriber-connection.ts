/**
 * One connection that holds subscriptions. Owns that all of them stand after an interruption, each acknowledged; which
 * those are, its owner knows.
 *
 * ```
 *   connected ─► resubscribe all, each acknowledged ─► heads read ─► listeners told ─► ready
 *       ▲             │ refused, timed out                 │ fails
 *       └── new connection ◄───────────────────────────────┘            (degraded meanwhile)
 * ```
 * It holds one kind of subscription only, classic or sharded: mixing them on one connection loses messages in ioredis.
 */
import type { Redis } from 'ioredis'
import { diagnostics } from '../../core/diagnostics.js'
import { disconnect, toBrokerError } from '../../redis/connect.js'
import { RedisConnection } from '../../redis/connection.js'

/** Channels in one go; small enough that the acknowledgements of a batch come well within the time-out. */
const BATCH = 500

export interface SubscriptionOwner {
  /** What is to be subscribed on a connection that begins anew. */
  namesOn(connection: SubscriberConnection): readonly string[]
  /** They stand again: reads what was missed. The connection is given up where that fails. */
  onRestored(connection: SubscriberConnection, names: readonly string[]): Promise<void>
  /** Another node serves these, or some that are not known yet. */
  onMoved(names: readonly string[]): void
  onMessage(connection: SubscriberConnection, name: string, message: Buffer): void
  onStateChange(): void
}

export class SubscriberConnection {
  readonly client: Redis
  readonly #redis: RedisConnection
  readonly #sharded: boolean
  readonly #owner: SubscriptionOwner
  /** Ends the wait of those whose acknowledgement has not come. */
  readonly #waiting = new Set<() => void>()
  /** Counts connections, so that work begun on a former one stops. */
  #connection = 0
  /** The one that was given up last. */
  #givenUp = -1
  #ready = false

  constructor(client: Redis, sharded: boolean, owner: SubscriptionOwner) {
    this.client = client
    this.#redis = RedisConnection.of(client)
    this.#sharded = sharded
    this.#owner = owner
    client.setMaxListeners(0)
    client.on(sharded ? 'smessageBuffer' : 'messageBuffer', (name: Buffer, message: Buffer) =>
      owner.onMessage(this, name.toString('latin1'), message),
    )
    client.on('ready', () => void this.#restore())
    client.on('close', () => {
      this.#connection++
      this.#setReady(false)
      if (sharded) owner.onMoved([])
    })
    if (sharded) this.#watchMoves()
  }

  /** All its subscriptions stand on the present connection. */
  get ready(): boolean {
    return this.#ready
  }

  /**
   * Resolves when Redis has acknowledged them.
   * @returns those that another node may serve
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
      // The connection broke, or the slot moved, and there is no subscription there any more: done all the same.
      report('unsubscribe', error)
    }
  }

  /** Gives the connection up for a new one. */
  reconnect(): void {
    if (this.#givenUp === this.#connection) return
    this.#givenUp = this.#connection
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
      const batch = names.slice(i, i + BATCH)
      if (this.#sharded) {
        const here = await Promise.all(batch.map((name) => this.#subscribeSharded(name)))
        moved.push(...batch.filter((_, i) => !here[i]))
      } else {
        await this.client.subscribe(...batch)
      }
    }
    return moved
  }

  /** @returns whether this node serves it */
  #subscribeSharded(name: string): Promise<boolean> {
    return new Promise((resolve, reject) => {
      const giveUp = () => resolve(false)
      this.#waiting.add(giveUp)
      this.client
        .ssubscribe(name)
        .then(() => resolve(true), reject)
        .finally(() => this.#waiting.delete(giveUp))
    })
  }

  #watchMoves(): void {
    // One of those that wait was answered MOVED. ioredis does not say which, and never settles it; the others may ask again.
    this.client.on('moved', () =>
      setImmediate(() => {
        for (const giveUp of this.#waiting) giveUp()
      }),
    )
    // Redis takes subscriptions away when their slot moves, and says so. ioredis takes that for an answer: what it thinks
    // was answered is wrong from here on.
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
      report('resubscribe', error)
      if (connection === this.#connection) this.reconnect()
    }
  }

  #setReady(ready: boolean): void {
    if (this.#ready === ready) return
    this.#ready = ready
    this.#owner.onStateChange()
  }
}

export function report(operation: string, cause: unknown): void {
  if (!diagnostics.brokerError.hasSubscribers) return
  diagnostics.brokerError.publish({ operation, error: toBrokerError(cause) })
}
