/**
 * The state of one Redis client: is it connected, why not, and which callbacks wait for it. Owns the listeners on the
 * client and the reports of failed connections. Must not know which commands are sent.
 */
import { BrokerError } from '../core/errors.js'
import { hasEnded, type RedisClient } from './connect.js'
import { reportBrokerError, unavailable, warnOnce } from './errors.js'

/**
 * Sends commands. A command that is sent after it has returned (such as a script in full after NOSCRIPT) counts as
 * written because an earlier one was. If it sends no command before it returns, it must notify the listener itself.
 */
export type Send<T, C extends RedisClient = RedisClient> = (client: C, listener: WriteListener) => Promise<T>

/** Is notified when one of its commands is written. */
export interface WriteListener {
  /** Called when a command is serialised for the socket. */
  onWritten(): void
}

interface SentCommand {
  toWritable(socket: unknown): string | Buffer
}

const connections = new WeakMap<object, RedisConnection>()

export class RedisConnection {
  readonly client: RedisClient
  /** The same client. Its `sendCommand` notifies the current write listener. */
  readonly #tracked: RedisClient
  #writeListener: WriteListener | undefined
  #closed = false
  readonly #waiting = new Set<() => void>()
  #failure: Error | undefined
  #wasEverReady = false
  #users = 0
  /** The current outage was reported to diagnostics. */
  #outageReported = false
  /** During the current outage a command waited for the connection until its deadline. */
  #waitedInVain = false

  /**
   * Returns the one RedisConnection of a client: parts that share a client share its state. Each caller must `release`
   * it, so that no listener stays on a client of the application.
   */
  static of(client: RedisClient): RedisConnection {
    let connection = connections.get(client)
    if (connection === undefined) {
      connection = new RedisConnection(client)
      connections.set(client, connection)
    }
    connection.#users++
    return connection
  }

  private constructor(client: RedisClient) {
    this.client = client
    this.#tracked = this.#track(client)
    this.#wasEverReady = client.status === 'ready'
    client.on('ready', this.#onReady)
    client.on('close', this.#onClose)
    client.on('end', this.#onEnd)
    client.on('error', this.#onError)
    client.on('node error', this.#onError)
  }

  get ready(): boolean {
    return this.client.status === 'ready'
  }

  /** The client was closed and does not reconnect. */
  get ended(): boolean {
    return this.#closed || hasEnded(this.client)
  }

  /** Marks the connection as closed by its owner. Commands that wait for it fail immediately. */
  end(): void {
    this.#closed = true
    this.#wake()
  }

  /** Why the last connection attempt failed; `undefined` while connected. */
  get failure(): Error | undefined {
    return this.#failure
  }

  /** A command waited for the connection until its deadline, and the connection is not back. */
  get waitedInVain(): boolean {
    return this.#waitedInVain && !this.ready
  }

  /** Calls `send`. The listener is notified of the commands that `send` sends before it returns. */
  async send<T>(send: Send<T>, listener: WriteListener): Promise<T> {
    this.#writeListener = listener
    try {
      return send(this.#tracked, listener)
    } finally {
      this.#writeListener = undefined
    }
  }

  /** Calls `callback` once, when the client is ready or has ended. @returns cancels the wait */
  wait(callback: () => void): () => void {
    // A client with `lazyConnect` connects at its first command, but here the command waits for the connection.
    if (this.client.status === 'wait') this.client.connect().catch(ignore)
    this.#waiting.add(callback)
    return () => this.#waiting.delete(callback)
  }

  /**
   * Resolves when the client is ready.
   * @throws BrokerError `ERR_SSE_BROKER_UNAVAILABLE` after `timeoutMs`, `ERR_SSE_CLOSED` if the client is closed
   */
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

  /** The last call removes all listeners from the client. Later failures are not reported. */
  release(): void {
    if (--this.#users > 0) return
    this.#outageReported = true
    const { client } = this
    client.off('ready', this.#onReady)
    client.off('error', this.#onError)
    client.off('node error', this.#onError)
    client.off('close', this.#onClose)
    client.off('end', this.#onEnd)
    connections.delete(client)
    // A client of the application may never end, so the waiting callbacks are called now.
    this.#wake()
  }

  /** The error for a command that had no connection until its deadline. */
  unavailable(timeoutMs: number): BrokerError {
    this.#waitedInVain = true
    return unavailable(timeoutMs, this.#failure)
  }

  #track(client: RedisClient): RedisClient {
    const original = client as unknown as { sendCommand(command: SentCommand, ...rest: unknown[]): unknown }
    const tracked = Object.create(client) as typeof original
    tracked.sendCommand = (command, ...rest) => {
      const listener = this.#writeListener
      if (listener !== undefined) {
        const { toWritable } = command
        command.toWritable = (socket) => {
          listener.onWritten()
          return toWritable.call(command, socket)
        }
      }
      return original.sendCommand(command, ...rest)
    }
    return tracked as unknown as RedisClient
  }

  readonly #onReady = (): void => {
    this.#wasEverReady = true
    this.#failure = undefined
    this.#outageReported = false
    this.#waitedInVain = false
    this.#wake()
  }

  /** A server or proxy that closes a connection without an error is a cause too. */
  readonly #onClose = (): void => {
    this.#failure ??= new Error('the connection was closed')
  }

  /** A client that the kit keeps open ends only for a moment. */
  readonly #onEnd = (): void => {
    if (this.ended) this.#wake()
  }

  readonly #onError = (error: Error): void => {
    if (this.ready || this.ended || isConsequence(error)) return
    // After a refused password, each further command on this connection fails with NOAUTH. Keep the first cause.
    if (!(this.#failure !== undefined && /^NOAUTH/.test(error.message))) this.#failure = rootOf(error)
    if (this.#outageReported) return
    this.#outageReported = true
    const failure = unavailable(undefined, this.#failure)
    reportBrokerError('connect', failure)
    if (this.#wasEverReady) return
    warnOnce('SSE_REDIS_UNREACHABLE', `${failure.message.replace(/\.$/, '')}. The kit keeps retrying.`)
  }

  readonly #wake = (): void => {
    const callbacks = [...this.#waiting]
    this.#waiting.clear()
    for (const callback of callbacks) callback()
  }
}

/** Errors of ioredis's own commands on a connection that has closed. They are not the cause of the failure. */
function isConsequence({ name, message }: Error): boolean {
  return name === 'MaxRetriesPerRequestError' || message.startsWith("Stream isn't writeable")
}

/** The error of a cluster wraps the last error of its nodes. */
function rootOf(error: Error): Error {
  const { lastNodeError } = error as { lastNodeError?: unknown }
  return lastNodeError instanceof Error ? lastNodeError : error
}

function ignore(): void {
  // The client also emits `error`, which `#onError` handles.
}
