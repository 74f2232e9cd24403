/**
 * The limiter's way to Redis. Owns the connection, how long an answer may take, and the breaker: after one failure nothing is
 * asked until a trial in the background was answered. Must not know what the messages mean.
 *
 * ```
 *            failed, or no answer in time
 *   available ──────────────────────────► away ─┐ trial every TRIAL_MS,
 *       ▲                                  │  ▲─┘ and when the connection is back
 *       └───────────── answered ───────────┘
 * ```
 */

import type { Clock, Timer } from '../../core/clock.js'
import { diagnostics } from '../../core/diagnostics.js'
import type { SseError } from '../../core/errors.js'
import type { LeaseClock } from '../../core/lease-clock.js'
import { COMMAND_TIMEOUT_MS, type RedisClient } from '../../redis/connect.js'
import { toBrokerError } from '../../redis/errors.js'
import { type CommandReport, RedisHandle, reported } from '../../redis/handle.js'
import type { RedisSource } from '../../redis/source.js'
import { type LimiterScripts, type Message, withLimiterScripts } from './scripts.js'

/** How the commands of request limiters appear in diagnostics. */
export const LIMIT_REPORT: CommandReport = { to: diagnostics.redisCommand, command: 'limit' }

const TRIAL_MS = 250
/** Messages that are sent at once where there are many, so that requests' messages find their way between. */
const CHUNK = 500

export interface LimiterConnectionOptions {
  readonly redis: RedisSource
  readonly timeoutMs: number
  readonly clock: LeaseClock
}

export class LimiterConnection {
  /** Called when Redis is back, or again connected: it may have lost what it knew. */
  onRecovered: () => void = () => undefined
  readonly client: RedisClient & LimiterScripts
  readonly #redis: RedisHandle
  readonly #timeoutMs: number
  readonly #clock: Clock
  #available = true
  #retired = false
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

  /** Whether asking is worth while. */
  get available(): boolean {
    return this.#available && !this.#retired
  }

  /** From now on nothing is worth asking. What was asked is still answered, and what there is to tell can be told. */
  stopRequests(): void {
    this.#retired = true
  }

  /**
   * Sends what `compose` makes, once there is a connection. Resolves when it was answered or has failed; an answer that comes
   * later than that is received all the same.
   */
  send(compose: () => Message): Promise<void> {
    return this.run(() => this.#send(compose)).catch(() => undefined)
  }

  /** Sends many messages, `CHUNK` at a time: they share the time-out and the socket's writes. Resolves like `ask`. */
  async sendAll(composers: readonly (() => Message)[]): Promise<void> {
    for (let i = 0; i < composers.length && this.#available; i += CHUNK) {
      const chunk = composers.slice(i, i + CHUNK)
      await this.run(() => Promise.all(chunk.map((compose) => this.#send(compose)))).catch(() => undefined)
    }
  }

  /**
   * Runs commands under the time-out and the breaker.
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
    if (diagnostics.limiterError.hasSubscribers) diagnostics.limiterError.publish({ operation: 'ask', error })
    this.#scheduleTrial()
  }

  #scheduleTrial(): void {
    if (this.#closed) return
    this.#trial = this.#clock.after(TRIAL_MS, () => {
      this.run(() => this.client.ping()).then(
        () => this.#return(),
        () => this.#scheduleTrial(),
      )
    })
  }

  readonly #onReady = (): void => {
    if (this.#connectedBefore) this.#return()
    this.#connectedBefore = true
  }

  #return(): void {
    if (this.#closed) return
    this.#available = true
    this.#trial?.cancel()
    this.onRecovered()
  }
}
