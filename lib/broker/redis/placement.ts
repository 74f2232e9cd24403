/** On which connection a name's messages arrive: there is one, or in a cluster one for each master that serves some of them. */
import calculateSlot from 'cluster-key-slot'
import type { Cluster, Redis } from 'ioredis'
import type { Clock, Timer } from '../../core/clock.js'
import { type ConnectOptions, connectLike } from '../../redis/connect.js'
import { SubscriberConnection, type SubscriptionOwner } from './subscriber-connection.js'

/** The pause between two looks at a cluster that is changing, in ms. */
const REFRESH_PAUSE_MS = 100

export interface Placement {
  readonly connections: readonly SubscriberConnection[]
  /** `undefined`: at present it is not known who serves it. */
  at(name: string): SubscriberConnection | undefined
  /** Looks anew, soon. */
  refresh(): void
  close(): void
}

/** Opened with the first subscription: a process that only publishes has none. */
export class SinglePlacement implements Placement {
  readonly #client: Redis
  readonly #connectOptions: ConnectOptions
  readonly #owner: SubscriptionOwner
  #connection: SubscriberConnection | undefined
  #closed = false

  /** @param client the connection for commands, to whose server this one goes as well */
  constructor(client: Redis, connectOptions: ConnectOptions, owner: SubscriptionOwner) {
    this.#client = client
    this.#connectOptions = connectOptions
    this.#owner = owner
  }

  get connections(): readonly SubscriberConnection[] {
    return this.#connection === undefined ? [] : [this.#connection]
  }

  at(): SubscriberConnection | undefined {
    if (this.#closed) return undefined
    this.#connection ??= new SubscriberConnection(connectLike(this.#client, this.#connectOptions), false, this.#owner)
    return this.#connection
  }

  refresh(): void {
    // There is nothing to look for.
  }

  close(): void {
    this.#closed = true
    this.#connection?.close()
  }
}

/** Sharded pub/sub: a name belongs to a slot, and only the master of that slot takes subscriptions to it. */
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
   * @param cluster the connection for commands, which knows who serves what
   * @param onRefreshed called when that may have changed
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

  at(name: string): SubscriberConnection | undefined {
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
    // What was moved off the nodes that are no masters any more is on others by now.
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
