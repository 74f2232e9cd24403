import {
  type ConnectOptions,
  connectRedis,
  isRedisClient,
  type RedisClient,
  type RedisSource,
  whenReady,
} from './connect.js'

/** A client that was handed in, used as it is and left open, or else a connection of its own. */
export class RedisHandle {
  readonly client: RedisClient
  readonly #owned: boolean
  #connecting: Promise<void> | undefined

  /** @throws InvalidOptionError */
  constructor(source: RedisSource, options: ConnectOptions) {
    this.#owned = !isRedisClient(source)
    this.client = isRedisClient(source) ? source : connectRedis(source, options)
  }

  /**
   * Resolves when commands can be sent. One wait, and so one pair of listeners on the client, for all who ask meanwhile.
   * @throws BrokerError after `timeoutMs`
   */
  async connected(timeoutMs: number): Promise<void> {
    if (this.client.status === 'ready') return
    this.#connecting ??= this.#connect(timeoutMs).finally(() => {
      this.#connecting = undefined
    })
    await this.#connecting
  }

  /** Idempotent. */
  close(): void {
    if (this.#owned) this.client.disconnect()
  }

  async #connect(timeoutMs: number): Promise<void> {
    // A client made with lazyConnect connects at the first command, which here would wait for the connection.
    if (this.client.status === 'wait') await this.client.connect()
    else await whenReady(this.client, timeoutMs)
  }
}
