/**
 * One run of commands in Redis. Owns the deadline, the retries, and a truthful outcome: done, not done or unknown.
 *
 * ```
 *            not connected                      reply
 *   run ─► wait ─► send ─────────────────────────────────► done, or refused (an error reply: not done)
 *            ▲      │ the connection breaks
 *            └──────┴─ retry, if allowed ──────► otherwise: not written: not done
 *                                                           written: unknown
 *   at the deadline:  waiting, never written: not done · in flight, or an earlier attempt was written: unknown
 * ```
 * An attempt counts as written when its bytes are serialised for the socket. The last error does not decide the
 * outcome. At the deadline the run rejects, but it is *settled* only when the client holds none of its commands any
 * more: until then they count against the bounds of the caller.
 */

import type { Clock, Timer } from '../core/clock.js'
import { BrokerError, SseError } from '../core/errors.js'
import type { RedisClient } from './connect.js'
import type { RedisConnection, Send } from './connection.js'
import { isRefusal, isTemporaryRefusal, reasonOf, refused, unavailable, unknownOutcome } from './errors.js'

const RETRY_PAUSE_MS = 20

export interface RunOptions {
  /** The time limit for the wait and all attempts together, in ms. @defaultValue the handle's `commandTimeoutMs` */
  readonly timeoutMs?: number | undefined
  /**
   * `true`: sends the commands again, until the deadline, if their connection broke or the server temporarily refused
   * them. Only for commands that may run twice, or whose repetition Redis recognises. @defaultValue false
   */
  readonly retries?: boolean
  /** `true`: the commands change nothing, so without a reply they count as not done. @defaultValue false */
  readonly readOnly?: boolean
  /**
   * `true`: fails immediately if another run waited for the connection until its deadline, and the connection is not
   * back. @defaultValue false
   */
  readonly failsFast?: boolean
  /**
   * `true`: `send` does not use the client that it is given, so the commands count as written when `send` is called.
   * @defaultValue false
   */
  readonly untracked?: boolean
  /** Called once, when none of the commands waits or is in flight any more. Never before the outcome. */
  readonly onSettled?: () => void
  /** Called at the deadline if an attempt is still in flight. */
  readonly onOverdue?: () => void
}

export class Run<T> {
  readonly #connection: RedisConnection
  readonly #send: Send<T>
  readonly #options: RunOptions
  readonly #timeoutMs: number
  readonly #onSettled: (run: { close(): void }) => void
  readonly outcome: Promise<T>
  #resolve!: (reply: T) => void
  #reject!: (error: SseError) => void
  #deadline: Timer
  #retry: NodeJS.Timeout | undefined
  #stopWaiting: (() => void) | undefined
  #inFlight = false
  /** The current attempt was written. */
  #written = false
  /** An attempt was written and got no reply. */
  #unknown = false
  /** `outcome` is resolved or rejected. */
  #decided = false
  #lastError: unknown

  constructor(
    connection: RedisConnection,
    clock: Clock,
    send: Send<T>,
    options: RunOptions,
    timeoutMs: number,
    onSettled: (run: { close(): void }) => void,
  ) {
    this.#connection = connection
    this.#send = send
    this.#options = options
    this.#timeoutMs = timeoutMs
    this.#onSettled = onSettled
    this.outcome = new Promise<T>((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
    this.#deadline = clock.after(timeoutMs, () => this.#expire())
  }

  start(): void {
    const { ready, waitedInVain } = this.#connection
    if (this.#options.failsFast && waitedInVain && !ready) this.#fail(this.#notSent())
    else this.#attempt()
  }

  /** Rejects the outcome, because no more replies will arrive. */
  close(): void {
    if (this.#decided) return
    const sent = this.#inFlight && !this.#options.readOnly
    if (this.#unknown || sent) {
      this.#fail(unknownOutcome('The connection to Redis was closed before the reply', this.#lastError))
    } else {
      this.#fail(new BrokerError('ERR_SSE_CLOSED', 'The connection to Redis was closed', this.#lastError))
    }
  }

  /** Called when a command is serialised for the socket. */
  onWritten(): void {
    this.#written = true
  }

  #attempt(): void {
    if (this.#decided) return
    if (this.#connection.ended) {
      this.close()
      return
    }
    if (!this.#connection.ready) {
      this.#stopWaiting = this.#connection.wait(() => this.#attempt())
      return
    }
    this.#stopWaiting = undefined
    this.#inFlight = true
    this.#written = this.#options.untracked === true || isPipelined(this.#connection.client)
    this.#connection.send(this.#send, this).then(
      (value) => this.#onReply(value),
      (error: unknown) => this.#onError(error),
    )
  }

  #onReply(value: T): void {
    this.#inFlight = false
    if (this.#decided) {
      this.#settle()
      return
    }
    this.#decide()
    this.#resolve(value)
    this.#settle()
  }

  #onError(error: unknown): void {
    this.#inFlight = false
    this.#lastError = error
    if (this.#decided) {
      this.#settle()
      return
    }
    if (error instanceof SseError) {
      this.#fail(error)
      return
    }
    const isRefused = isRefusal(error)
    if (!isRefused && this.#written && !this.#options.readOnly) this.#unknown = true
    const retries = this.#options.retries === true && (isRefused ? isTemporaryRefusal(error) : true)
    if (!retries) this.#fail(this.#errorOf(error))
    else this.#retry = setTimeout(() => this.#attempt(), RETRY_PAUSE_MS)
  }

  #expire(): void {
    if (this.#decided) return
    if (this.#inFlight) {
      this.#fail(unknownOutcome(`Redis did not reply within ${Math.round(this.#timeoutMs)} ms`, this.#lastError))
      this.#options.onOverdue?.()
    } else if (this.#unknown || isRefusal(this.#lastError)) {
      this.#fail(this.#errorOf(this.#lastError))
    } else {
      this.#fail(this.#notSent())
    }
  }

  #notSent(): BrokerError {
    return this.#connection.unavailable(this.#timeoutMs)
  }

  #errorOf(error: unknown): BrokerError {
    if (this.#unknown) {
      return unknownOutcome(`The connection to Redis was lost before the reply (${reasonOf(error)})`, error)
    }
    return isRefusal(error) ? refused(error) : unavailable(undefined, error)
  }

  #fail(error: SseError): void {
    this.#decide()
    this.#reject(error)
    if (!this.#inFlight) this.#settle()
  }

  #settle(): void {
    this.#onSettled(this)
    this.#options.onSettled?.()
  }

  #decide(): void {
    this.#decided = true
    this.#deadline.cancel()
    clearTimeout(this.#retry)
    this.#stopWaiting?.()
  }
}

/** Commands of several callers share a pipeline, so the kit cannot see whose commands were written. */
function isPipelined({ options }: RedisClient): boolean {
  return options.enableAutoPipelining === true
}
