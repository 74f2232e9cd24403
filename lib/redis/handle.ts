import type { Channel } from 'node:diagnostics_channel'
import type { Redis } from 'ioredis'
import type { Clock } from '../core/clock.js'
import { BrokerError } from '../core/errors.js'
import {
  type ConnectOptions,
  connectRedis,
  disconnect,
  isCluster,
  isRedisClient,
  type RedisClient,
  type RedisSource,
} from './connect.js'
import { RedisConnection, type Send } from './connection.js'
import { Probe } from './probe.js'
import { Run, type RunOptions } from './run.js'
import { sharedClientOf } from './source.js'

/** How often connections of one's own are tested, in ms. */
const PROBE_MS = 5000

export interface HandleOptions extends ConnectOptions {
  /** For the deadlines of commands. */
  readonly clock: Clock
  /** @defaultValue 5000 */
  readonly probeMs?: number
  /** `own`: a client that is handed in is only a pattern for a connection of the kit's own. @defaultValue 'given' */
  readonly use?: 'given' | 'own'
  /** While nothing is under way, its own connection keeps no process alive. @defaultValue false */
  readonly releasesProcess?: boolean
  /** Adds the scripts. */
  readonly prepare?: (client: RedisClient) => void
  /** Connections beside the handle's that are to be tested as well. */
  readonly others?: () => readonly Redis[]
}

export interface CommandOptions extends RunOptions {
  /** Where it is to be reported when it has been answered or has failed, and under which name. */
  readonly report?: { readonly to: Channel; readonly command: string } | undefined
}

/**
 * A way to Redis: a client that was handed in or made by `createRedis`, used as it is and left open, or else a connection of its own. Owns what is under way
 * on it. See run.ts for what becomes of a command.
 */
export class RedisHandle<C extends RedisClient = RedisClient> {
  readonly client: C
  readonly #options: HandleOptions
  readonly #owned: boolean
  readonly #connection: RedisConnection
  readonly #probe: Probe | undefined
  readonly #runs = new Set<{ close(): void }>()
  #closed = false

  /** @throws InvalidOptionError */
  constructor(source: RedisSource, options: HandleOptions) {
    this.#options = options
    const shared = sharedClientOf(source)
    this.#owned = shared === undefined && (options.use === 'own' || !isRedisClient(source))
    const client = this.#owned ? connectRedis(source, options) : (shared ?? (source as RedisClient))
    options.prepare?.(client)
    this.client = client as C
    this.#connection = RedisConnection.of(client)
    const { probeMs = PROBE_MS, commandTimeoutMs: timeoutMs, others } = options
    if (!this.#owned && others === undefined) return
    const connections = () => [...(this.#owned ? this.connections : []), ...(others?.() ?? [])]
    this.#probe = new Probe({ connections, probeMs, timeoutMs })
    if (this.#releases) this.#releaseProcess(client)
  }

  /** One, or in a cluster one for each master. */
  get connections(): readonly Redis[] {
    return isCluster(this.client) ? this.client.nodes('master') : [this.client as Redis]
  }

  get ready(): boolean {
    return this.#connection.ready
  }

  /** Why the last connection could not be made; `undefined` while it is connected. */
  get failure(): Error | undefined {
    return this.#connection.failure
  }

  /** Resolves when commands can be sent. @throws BrokerError */
  connected(timeoutMs: number): Promise<void> {
    return this.#connection.whenReady(timeoutMs)
  }

  /** The error for what was not sent because there was no connection in time. */
  unavailable(): BrokerError {
    return this.#connection.unavailable(this.#options.commandTimeoutMs)
  }

  /**
   * Has something done, as soon as there is a connection.
   * @throws BrokerError `ERR_SSE_BROKER_UNAVAILABLE`: it was not written; `ERR_SSE_BROKER_REFUSED`: Redis did not do it;
   * `ERR_SSE_BROKER_TIMEOUT`: it was written, and nobody knows; `ERR_SSE_CLOSED`: not written before `close`
   */
  run<T>(send: Send<T, C>, options: CommandOptions = {}): Promise<T> {
    if (this.#closed || this.#connection.ended) {
      options.onSettled?.()
      return Promise.reject(new BrokerError('ERR_SSE_CLOSED', 'The connection to Redis was closed'))
    }
    const { clock, commandTimeoutMs } = this.#options
    const timeoutMs = options.timeoutMs ?? commandTimeoutMs
    const run = new Run<T>(this.#connection, clock, send as Send<T>, options, timeoutMs, this.#onSettled)
    if (this.#runs.add(run).size === 1) this.#setHeld(true)
    const { report } = options
    if (report?.to.hasSubscribers) observe(run.outcome, report.to, report.command, clock)
    run.start()
    return run.outcome
  }

  /** Nothing more is sent. What is under way fails, and so does what waits. Idempotent. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#probe?.close()
    for (const run of this.#runs) run.close()
    if (this.#owned) this.#connection.end()
    this.#connection.release()
    if (this.#owned) disconnect(this.client)
  }

  readonly #onSettled = (run: { close(): void }): void => {
    if (this.#runs.delete(run) && this.#runs.size === 0) this.#setHeld(false)
  }

  /** A connection that others use as well is theirs to hold. */
  get #releases(): boolean {
    return this.#owned && this.#options.releasesProcess === true
  }

  #releaseProcess(client: RedisClient): void {
    const apply = (): void => this.#setHeld(this.#runs.size > 0)
    client.on('ready', apply)
    if (isCluster(client)) client.on('+node', (node: Redis) => node.on('ready', apply))
  }

  #setHeld(held: boolean): void {
    if (!this.#releases || this.#closed) return
    const nodes = isCluster(this.client) ? this.client.nodes('all') : [this.client as Redis]
    for (const { status, stream } of nodes) {
      // One that is connecting does, and is looked at again when it is ready.
      if (status === 'ready') setHeld(stream, held)
    }
  }
}

interface Referable {
  ref?(): void
  unref?(): void
}

function setHeld(stream: Referable, held: boolean): void {
  if (held) stream.ref?.()
  else stream.unref?.()
}

function observe(outcome: Promise<unknown>, to: Channel, command: string, clock: Clock): void {
  const beganAt = clock.now()
  const publish = (error?: unknown): void => to.publish({ command, ms: clock.now() - beganAt, error })
  outcome.then(() => publish(), publish)
}
