/**
 * What the kit knows of one Redis client: is it connected, why not, and who waits for it. Owns the listeners on the client, the
 * reports of failed connections, and that an idle connection keeps no process alive. Must not know what is sent.
 */
import { diagnostics } from '../core/diagnostics.js'
import { BrokerError } from '../core/errors.js'
import { type RedisClient, unavailable } from './connect.js'
import { warnOnce } from './warnings.js'

/**
 * Sends commands, all of them before it returns: one that is sent later, such as a script in full after NOSCRIPT, is only noted as
 * written because the first one was.
 */
export type Send<T, C extends RedisClient = RedisClient> = (client: C) => Promise<T>

/** Hears when a command of its own goes to the socket. */
export interface Sender {
  onWritten(): void
}

interface SentCommand {
  toWritable(socket: unknown): string | Buffer
}

const known = new WeakMap<object, RedisConnection>()

export class RedisConnection {
  readonly client: RedisClient
  /** The same client, which notes whose commands are written. */
  readonly #tracked: RedisClient
  #sender: Sender | undefined
  #closed = false
  readonly #waiting = new Set<() => void>()
  #failure: Error | undefined
  #everReady = false
  #users = 0
  /** Of the present outage: reported to diagnostics. */
  #reported = false
  /** Of the present outage: a command has waited for the connection until its deadline. */
  #waitedInVain = false

  /**
   * One for each client: parts that share a client share what is known of it. Each must `release` it, so that nothing is left on a client
   * that was handed in.
   */
  static of(client: RedisClient): RedisConnection {
    let connection = known.get(client)
    if (connection === undefined) {
      connection = new RedisConnection(client)
      known.set(client, connection)
    }
    connection.#users++
    return connection
  }

  private constructor(client: RedisClient) {
    this.client = client
    this.#tracked = this.#track(client)
    this.#everReady = client.status === 'ready'
    client.on('ready', this.#onReady)
    client.on('end', this.#wake)
    client.on('error', this.#onError)
    client.on('node error', this.#onError)
  }

  get ready(): boolean {
    return this.client.status === 'ready'
  }

  /** The client was closed for good. */
  get ended(): boolean {
    return this.#closed || this.client.status === 'end'
  }

  /** Its owner closes it for good: what others still want of it fails at once. */
  end(): void {
    this.#closed = true
    this.#wake()
  }

  /** Why the last connection failed; `undefined` while it is connected. */
  get failure(): Error | undefined {
    return this.#failure
  }

  /** A command has waited in vain, and the connection is not back. */
  get waitedInVain(): boolean {
    return this.#waitedInVain && !this.ready
  }

  async send<T>(send: Send<T>, sender: Sender): Promise<T> {
    this.#sender = sender
    try {
      return send(this.#tracked)
    } finally {
      this.#sender = undefined
    }
  }

  /** Calls back once, when it is ready or has ended. @returns stops waiting */
  wait(callback: () => void): () => void {
    // A client made with lazyConnect connects at its first command, which here would wait for the connection.
    if (this.client.status === 'wait') this.client.connect().catch(ignore)
    this.#waiting.add(callback)
    return () => this.#waiting.delete(callback)
  }

  /** Resolves when it is ready. @throws BrokerError `ERR_SSE_BROKER_UNAVAILABLE` after `timeoutMs` */
  async whenReady(timeoutMs: number): Promise<void> {
    if (this.ready) return
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => {
        stopWaiting()
        reject(this.unavailable(timeoutMs))
      }, timeoutMs)
      const stopWaiting = this.wait(() => {
        clearTimeout(timer)
        if (this.ready && this.#users > 0) resolve()
        else reject(new BrokerError('ERR_SSE_CLOSED', 'The Redis connection was closed'))
      })
    })
  }

  /** The last one to do so takes the listeners away. What fails from then on is nobody's concern. */
  release(): void {
    if (--this.#users > 0) return
    this.#reported = true
    const { client } = this
    // Who waits is woken when the client ends; a client of the caller's own may go on.
    client.off('ready', this.#onReady)
    client.off('error', this.#onError)
    client.off('node error', this.#onError)
    client.off('end', this.#wake)
    known.delete(client)
    this.#wake()
  }

  /** The error for a command that was not sent because there was no connection until its deadline. */
  unavailable(timeoutMs: number): BrokerError {
    this.#waitedInVain = true
    return unavailable(timeoutMs, this.#failure)
  }

  #track(client: RedisClient): RedisClient {
    const original = client as unknown as { sendCommand(command: SentCommand, ...rest: unknown[]): unknown }
    const tracked = Object.create(client) as typeof original
    tracked.sendCommand = (command, ...rest) => {
      const sender = this.#sender
      if (sender !== undefined) {
        const { toWritable } = command
        command.toWritable = (socket) => {
          sender.onWritten()
          return toWritable.call(command, socket)
        }
      }
      return original.sendCommand(command, ...rest)
    }
    return tracked as unknown as RedisClient
  }

  readonly #onReady = (): void => {
    this.#everReady = true
    this.#failure = undefined
    this.#reported = false
    this.#waitedInVain = false
    this.#wake()
  }

  readonly #onError = (error: Error): void => {
    // What ioredis says of its own commands on a connection that is closing says nothing about why.
    if (this.ready || this.ended || error.message.startsWith('Stream isn')) return
    // After a refused password each further command on the connection is refused too, for want of one.
    if (!(this.#failure !== undefined && /^NOAUTH/.test(error.message))) this.#failure = rootOf(error)
    if (this.#reported) return
    this.#reported = true
    const failure = unavailable(undefined, this.#failure)
    if (diagnostics.brokerError.hasSubscribers) {
      diagnostics.brokerError.publish({ operation: 'connect', error: failure })
    }
    if (this.#everReady) return
    warnOnce('SSE_REDIS_UNREACHABLE', `${failure.message.replace(/\.$/, '')}. The kit keeps trying.`)
  }

  readonly #wake = (): void => {
    const callbacks = [...this.#waiting]
    this.#waiting.clear()
    for (const callback of callbacks) callback()
  }
}

/** A cluster's error stands for the last one of its nodes. */
function rootOf(error: Error): Error {
  const { lastNodeError } = error as { lastNodeError?: unknown }
  return lastNodeError instanceof Error ? lastNodeError : error
}

function ignore(): void {
  // The client's `error` event has told why.
}
