/**
 * On which connection the messages of a pub/sub channel arrive. There is one connection, or in a cluster one for each
 * master that serves a subscription. Owns the connections; must not know the subscriptions.
 */
import calculateSlot from 'cluster-key-slot'
import type { Cluster, Redis } from 'ioredis'
import type { Clock, Timer } from '../../core/clock.js'
import { type ConnectOptions, connectLike } from '../../redis/connect.js'
import { SubscriberConnection, type SubscriptionOwner } from './subscriber-connection.js'

/** The pause before the slot map of a changing cluster is reloaded, in ms. */
const REFRESH_PAUSE_MS = 100

export interface Placement {
  readonly connections: readonly SubscriberConnection[]
  /** The connection for a pub/sub channel; `undefined` while the node that serves it is unknown. */
  connectionFor(name: string): SubscriberConnection | undefined
  /** Reloads the slot map after a short pause. */
  refresh(): void
  close(): void
}

/** A single server. Opens the connection with the first subscription, so a process that only publishes has none. */
export class SinglePlacement implements Placement {
  readonly #client: Redis
  readonly #connectOptions: ConnectOptions
  readonly #owner: SubscriptionOwner
  #connection: SubscriberConnection | undefined
  #closed = false

  /** @param client the connection for commands; the subscriptions use the same server */
  constructor(client: Redis, connectOptions: ConnectOptions, owner: SubscriptionOwner) {
    this.#client = client
    this.#connectOptions = connectOptions
    this.#owner = owner
  }

  get connections(): readonly SubscriberConnection[] {
    return this.#connection === undefined ? [] : [this.#connection]
  }

  connectionFor(): SubscriberConnection | undefined {
    if (this.#closed) return undefined
    this.#connection ??= new SubscriberConnection(connectLike(this.#client, this.#connectOptions), false, this.#owner)
    return this.#connection
  }

  refresh(): void {
    // A single server has no slot map.
  }

  close(): void {
    this.#closed = true
    this.#connection?.close()
  }
}

/** Sharded pub/sub: a pub/sub channel belongs to a slot, and only the slot's master accepts its subscriptions. */
export class ClusterPlacement implements Placement {
  readonly #cluster: Cluster
  readonly #connectOptions: ConnectOptions
  readonly #owner: SubscriptionOwner
  readonly #onRefreshed: () => void
  readonly #clock: Clock
  /** By address. */
  readonly #connections = new Map<string, SubscriberConnection>()
  #refreshing: Timer | undefined
  #closed = false

  /**
   * @param cluster the connection for commands, which has the slot map
   * @param onRefreshed called when the slot map may have changed
   */
  constructor(
    cluster: Cluster,
    connectOptions: ConnectOptions,
    owner: SubscriptionOwner,
    onRefreshed: () => void,
    clock: Clock,
  ) {
    this.#cluster = cluster
    this.#connectOptions = connectOptions
    this.#owner = owner
    this.#onRefreshed = onRefreshed
    this.#clock = clock
    cluster.on('refresh', () => this.#onRefresh())
  }

  get connections(): readonly SubscriberConnection[] {
    return [...this.#connections.values()]
  }

  connectionFor(name: string): SubscriberConnection | undefined {
    const address = this.#cluster.slots[calculateSlot(name)]?.[0]
    if (address === undefined || this.#closed) return undefined
    const known = this.#connections.get(address)
    if (known !== undefined) return known
    const node = this.#cluster.nodes('master').find((candidate) => addressOf(candidate) === address)
    if (node === undefined) return undefined
    const connection = new SubscriberConnection(connectLike(node, this.#connectOptions), true, this.#owner)
    this.#connections.set(address, connection)
    return connection
  }

  refresh(): void {
    if (this.#closed || this.#refreshing !== undefined) return
    this.#refreshing = this.#clock.after(REFRESH_PAUSE_MS, () => {
      this.#refreshing = undefined
      this.#cluster.refreshSlotsCache((error) => {
        if (error) this.refresh()
      })
    })
  }

  close(): void {
    this.#closed = true
    this.#refreshing?.cancel()
    for (const connection of this.#connections.values()) connection.close()
    this.#connections.clear()
  }

  #onRefresh(): void {
    if (this.#closed) return
    this.#onRefreshed()
    // `onRefreshed` has moved the subscriptions away from nodes that are not masters any more.
    const masters = new Set(this.#cluster.slots.map(([address]) => address))
    for (const [address, connection] of this.#connections) {
      if (masters.has(address)) continue
      this.#connections.delete(address)
      connection.close()
    }
  }
}

function addressOf({ options }: Redis): string {
  return `${options.host}:${options.port}`
}
