/**
 * part of the kit ─► **handle** ─► run ─► connection ─► Redis. Owns which client a part uses, the runs in flight on it,
 * and that an idle connection does not keep the process alive. See run.ts for the outcome of a command.
 */
import type { Redis } from 'ioredis'
import type { Clock } from '../core/clock.js'
import type { BrokerError, SseError } from '../core/errors.js'
import { type ConnectOptions, connectRedis, disconnect, isCluster, isRedisClient, type RedisClient } from './connect.js'
import { RedisConnection, type Send } from './connection.js'
import { toBrokerError } from './errors.js'
import { Probe } from './probe.js'
import { Command, type CommandReport, Run, type RunOptions, reportCommand, type SendAll } from './run.js'
import { type RedisSource, sharedClientOf } from './source.js'

/** The default interval between two tests of a connection that the kit opened, in ms. */
const PROBE_MS = 5000

export interface HandleOptions extends ConnectOptions {
  /** For the deadlines of commands. */
  readonly clock: Clock
  /** @defaultValue 5000 */
  readonly probeMs?: number
  /**
   * How a client that the application gives is used: `given`: directly; `own`: as the template of a new connection.
   * @defaultValue 'given'
   */
  readonly use?: 'given' | 'own'
  /**
   * `true`: a connection that the handle opened does not keep the process alive while it is idle. @defaultValue false
   */
  readonly unrefWhenIdle?: boolean
  /** Called with the client before its first use, for example to define scripts. */
  readonly prepare?: (client: RedisClient) => void
  /** Further connections that the handle tests. */
  readonly otherConnections?: () => readonly Redis[]
}

export interface CommandOptions extends RunOptions {
  /** The time limit for the wait and all attempts together, in ms. @defaultValue the handle's `commandTimeoutMs` */
  readonly timeoutMs?: number | undefined
}

/** The commands of one caller, who awaits a promise. */
export class AwaitedCommand<T> extends Command<T> {
  readonly deadline: number
  readonly timeoutMs: number
  readonly outcome: Promise<T>
  readonly onSettled: () => void
  #resolve!: (reply: T) => void
  #reject!: (error: SseError) => void

  /** @param onSettled see `Command` */
  constructor(now: number, timeoutMs: number, onSettled: () => void = ignore) {
    super()
    this.deadline = now + timeoutMs
    this.timeoutMs = timeoutMs
    this.onSettled = onSettled
    this.outcome = new Promise<T>((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
  }

  resolve(reply: T): void {
    this.#resolve(reply)
  }

  reject(error: SseError): void {
    this.#reject(error)
  }
}

/**
 * A part's access to Redis. It uses a client of the application or of `createRedis` and does not close it; otherwise it
 * opens and closes its own connection.
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
    const { probeMs = PROBE_MS, commandTimeoutMs: timeoutMs, otherConnections } = options
    if (!this.#owned && otherConnections === undefined) return
    const connections = () => [...(this.#owned ? this.#allConnections : []), ...(otherConnections?.() ?? [])]
    this.#probe = new Probe({ connections, probeMs, timeoutMs })
    if (this.#unrefs) this.#unrefWhenIdle(client)
  }

  /** One connection, or in a cluster one for each master. */
  get connections(): readonly Redis[] {
    return isCluster(this.client) ? this.client.nodes('master') : [this.client as Redis]
  }

  /** In a cluster also those to replicas: a node that was a master may still hold commands. */
  get #allConnections(): readonly Redis[] {
    return isCluster(this.client) ? this.client.nodes('all') : [this.client as Redis]
  }

  get ready(): boolean {
    return this.#connection.ready
  }

  /** Why the last connection attempt failed; `undefined` while connected. */
  get failure(): Error | undefined {
    return this.#connection.failure
  }

  /** Resolves when commands can be sent. @throws BrokerError after `timeoutMs` */
  whenReady(timeoutMs: number): Promise<void> {
    return this.#connection.whenReady(timeoutMs)
  }

  /** The error for a command that had no connection until its deadline. */
  unavailable(): BrokerError {
    return this.#connection.unavailable(this.#options.commandTimeoutMs)
  }

  /**
   * Runs commands as soon as there is a connection.
   * @throws BrokerError `ERR_SSE_BROKER_UNAVAILABLE`: the commands were not written; `ERR_SSE_BROKER_REFUSED`: Redis
   * replied with an error; `ERR_SSE_BROKER_TIMEOUT`: they were written, and their effect is unknown; `ERR_SSE_CLOSED`:
   * they were not written before `close`
   */
  run<T>(send: Send<T, C>, options: CommandOptions = {}): Promise<T> {
    const { clock, commandTimeoutMs } = this.#options
    const command = new AwaitedCommand<T>(clock.now(), options.timeoutMs ?? commandTimeoutMs)
    this.runAll<T, typeof command>([command], alone(send), options)
    return command.outcome
  }

  /** Like `run`, for commands that are sent together. Each has its own outcome. */
  runAll<T, K extends Command<T>>(commands: readonly K[], send: SendAll<T, K, C>, options: RunOptions): void {
    const { clock } = this.#options
    const run = new Run<T, K>(this.#connection, clock, commands, send as SendAll<T, K>, options, this.#onOver)
    if (this.#closed) {
      run.close()
      return
    }
    if (this.#runs.add(run).size === 1) this.#setRef(true)
    run.start()
  }

  /** Rejects all runs that have not finished, and closes the connection if the handle opened it. Idempotent. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#probe?.close()
    for (const run of this.#runs) run.close()
    if (this.#owned) this.#connection.end()
    this.#connection.release()
    if (this.#owned) disconnect(this.client)
  }

  readonly #onOver = (run: { close(): void }): void => {
    if (this.#runs.delete(run) && this.#runs.size === 0) this.#setRef(false)
  }

  /** Only for an owned connection: other code may rely on a shared client to keep the process alive. */
  get #unrefs(): boolean {
    return this.#owned && this.#options.unrefWhenIdle === true
  }

  #unrefWhenIdle(client: RedisClient): void {
    const apply = (): void => this.#setRef(this.#runs.size > 0)
    client.on('ready', apply)
    if (isCluster(client)) client.on('+node', (node: Redis) => node.on('ready', apply))
  }

  #setRef(referenced: boolean): void {
    if (!this.#unrefs || this.#closed) return
    for (const { status, stream } of this.#allConnections) {
      // A connecting socket keeps the process alive; `ready` calls this again.
      if (status === 'ready') setRef(stream, referenced)
    }
  }
}

function ignore(): void {
  // Nothing waits for it.
}

/** `send`, for a run with one command. */
export function alone<T, C extends RedisClient>(send: Send<T, C>): SendAll<T, AwaitedCommand<T>, C> {
  return async (_, client, listener) => [await send(client, listener)]
}

interface Referable {
  ref?(): void
  unref?(): void
}

function setRef(stream: Referable, referenced: boolean): void {
  if (referenced) stream.ref?.()
  else stream.unref?.()
}

/** Runs `call` and publishes its duration, and its error if it fails, if the diagnostics channel has subscribers. */
export function reported<T>(report: CommandReport, clock: Clock, call: () => Promise<T>): Promise<T> {
  if (!report.to.hasSubscribers) return call()
  const beganAt = clock.now()
  const publish = (error?: unknown): void => reportCommand(report, clock.now() - beganAt, error)
  const outcome = call()
  outcome.then(
    () => publish(),
    (cause: unknown) => publish(toBrokerError(cause)),
  )
  return outcome
}
