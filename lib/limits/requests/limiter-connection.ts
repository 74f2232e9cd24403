/**
 * limiter ─► **connection** ─► Redis. Owns the connection of a limiter, the time-out of its commands, and a circuit
 * breaker: after one failure no command is sent until a trial in the background has succeeded. Must not know the
 * meaning of messages.
 *
 * ```
 *            failed, or no answer in time
 *   available ──────────────────────────► unavailable ─┐ trial every TRIAL_MS,
 *       ▲                                     │   ▲────┘ and when the connection is back
 *       └────────────── answered ─────────────┘
 * ```
 */

import type { Clock, Timer } from '../../core/clock.js'
import { diagnostics, reportTo } from '../../core/diagnostics.js'
import type { SseError } from '../../core/errors.js'
import type { LeaseClock } from '../../core/lease-clock.js'
import { COMMAND_TIMEOUT_MS, type RedisClient } from '../../redis/connect.js'
import { toBrokerError } from '../../redis/errors.js'
import { RedisHandle, reported } from '../../redis/handle.js'
import type { CommandReport } from '../../redis/run.js'
import type { RedisSource } from '../../redis/source.js'
import { type LimiterScripts, type Message, withLimiterScripts } from './scripts.js'

/** The name of the limiters' commands in diagnostics. */
export const LIMIT_REPORT: CommandReport = { to: diagnostics.redisCommand, command: 'limit' }

const TRIAL_MS = 250
/** Messages that are sent at once. Messages of requests are sent in between. */
const CHUNK = 500

export interface LimiterConnectionOptions {
  readonly redis: RedisSource
  readonly timeoutMs: number
  readonly clock: LeaseClock
}

export class LimiterConnection {
  /** Called when Redis answers again or is connected again. It may have lost its data. */
  onRecovered: () => void = () => undefined
  readonly client: RedisClient & LimiterScripts
  readonly #redis: RedisHandle
  readonly #timeoutMs: number
  readonly #clock: Clock
  #available = true
  #stopped = false
  #closed = false
  #connectedBefore: boolean
  #trial: Timer | undefined

  constructor({ redis, timeoutMs, clock }: LimiterConnectionOptions) {
    this.#timeoutMs = timeoutMs
    this.#clock = clock
    this.#redis = new RedisHandle(redis, {
      connectionName: 'express-sse-kit:limiter',
      commandTimeoutMs: COMMAND_TIMEOUT_MS,
      clock: clock.steady,
    })
    this.client = withLimiterScripts(this.#redis.client)
    this.#connectedBefore = this.client.status === 'ready'
    this.client.on('ready', this.#onReady)
  }

  /** Whether a command can be sent now. */
  get available(): boolean {
    return this.#available && !this.#stopped
  }

  /** Makes `available` false. Pending answers still arrive, and `sendAll` still works. */
  stopRequests(): void {
    this.#stopped = true
  }

  /**
   * Sends the message that `compose` returns, as soon as there is a connection. Resolves when it is answered or has
   * failed. A late answer is still received.
   */
  send(compose: () => Message): Promise<void> {
    return this.run(() => this.#send(compose)).catch(() => undefined)
  }

  /**
   * Sends many messages, `CHUNK` at a time: they share a time-out and the writes of the socket. Resolves like `send`.
   */
  async sendAll(composers: readonly (() => Message)[]): Promise<void> {
    for (let i = 0; i < composers.length && this.#available; i += CHUNK) {
      const chunk = composers.slice(i, i + CHUNK)
      await this.run(() => Promise.all(chunk.map((compose) => this.#send(compose)))).catch(() => undefined)
    }
  }

  /**
   * Runs commands with the time-out and the circuit breaker.
   * @throws BrokerError
   */
  async run<T>(commands: () => Promise<T>): Promise<T> {
    try {
      return await this.#redis.run(commands, { timeoutMs: this.#timeoutMs, untracked: true })
    } catch (cause) {
      const error = toBrokerError(cause)
      this.#fail(error)
      throw error
    }
  }

  /**
   * As `run`, for commands on keys that the caller does not repair. If a value is damaged, only these commands fail:
   * Redis counts as available.
   * @throws BrokerError
   */
  async runOnForeignKeys<T>(commands: () => Promise<T>): Promise<T> {
    let damage: unknown
    const value = await this.run(() =>
      commands().catch((error: unknown) => {
        if (!isDamaged(error)) throw error
        damage = error
        return undefined
      }),
    )
    if (damage === undefined) return value as T
    const error = toBrokerError(damage)
    reportTo(diagnostics.limiterError, 'ask', error)
    throw error
  }

  /** Idempotent. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#available = false
    this.#trial?.cancel()
    this.client.off('ready', this.#onReady)
    this.#redis.close()
  }

  async #send(compose: () => Message): Promise<void> {
    const { command, args, receive } = compose()
    const sentAt = this.#clock.now()
    receive(await reported(LIMIT_REPORT, this.#clock, () => this.client[command](...args)), sentAt)
  }

  #fail(error: SseError): void {
    if (!this.#available || this.#closed) return
    this.#available = false
    reportTo(diagnostics.limiterError, 'ask', error)
    this.#scheduleTrial()
  }

  #scheduleTrial(): void {
    if (this.#closed) return
    this.#trial = this.#clock.after(TRIAL_MS, () => {
      this.run(() => this.client.ping()).then(
        () => this.#recover(),
        () => this.#scheduleTrial(),
      )
    })
  }

  readonly #onReady = (): void => {
    if (this.#connectedBefore) this.#recover()
    this.#connectedBefore = true
  }

  #recover(): void {
    if (this.#closed) return
    this.#available = true
    this.#trial?.cancel()
    this.onRecovered()
  }
}

/** Redis has answered, and the value of the key is not a counter. */
function isDamaged(error: unknown): boolean {
  return error instanceof Error && /WRONGTYPE|not an integer|overflow/.test(error.message)
}
