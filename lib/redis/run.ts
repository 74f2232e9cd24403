/**
 * One way to have something done by Redis: with a deadline, and with a truthful outcome.
 *
 * ```
 *            not connected                      answered
 *   run ─► wait ─► send ───────────────────────────────────► done, or refused (Redis says why: it has not been done)
 *            ▲      │ the connection is lost
 *            └──────┴─ again, if it may be ───────► else: not written: not done
 *                                                         written: unknown
 *   at the deadline:  waiting, never written: not done · under way, or a former try was written: unknown
 * ```
 * Whether a try was written is noted when its bytes are made for the socket; which error came last says nothing about it.
 * A run that reached its deadline has failed for its caller, but is *settled* only when the client holds nothing of it any
 * more: what it takes up is taken up until then.
 */

import type { Clock, Timer } from '../core/clock.js'
import { BrokerError, SseError } from '../core/errors.js'
import { isRefusal, type RedisClient, reasonOf, refused } from './connect.js'
import type { RedisConnection, Send } from './connection.js'

const RETRY_PAUSE_MS = 20

export interface RunOptions {
  /** For the wait and all tries together, in ms. @defaultValue the connection's `commandTimeoutMs` */
  readonly timeoutMs?: number | undefined
  /**
   * Sends again, until the deadline, what was lost with its connection or refused by a server that cannot serve now. Only for
   * what may run twice, or what Redis recognises.
   */
  readonly retries?: boolean
  /** Changes nothing in Redis: without an answer it counts as not done. */
  readonly reads?: boolean
  /** Fails at once if another run has waited for the connection in vain, and it is not back. */
  readonly waitsOnce?: boolean
  /** The commands are not sent through the client that `send` is given: they count as written when `send` was called. */
  readonly untracked?: boolean
  /** Called once, when nothing of it waits or is under way any more; never before the outcome. */
  readonly onSettled?: () => void
  /** Called at the deadline if a try is still under way. */
  readonly onOverdue?: () => void
}

export class Run<T> {
  readonly #connection: RedisConnection
  readonly #send: Send<T>
  readonly #options: RunOptions
  readonly #timeoutMs: number
  readonly #onSettled: (run: { close(): void }) => void
  readonly outcome: Promise<T>
  #resolve!: (answer: T) => void
  #reject!: (error: SseError) => void
  #deadline: Timer
  #retry: NodeJS.Timeout | undefined
  #stopWaiting: (() => void) | undefined
  #underWay = false
  #written = false
  /** A try was written, and its answer never came. */
  #unknown = false
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
    if (this.#options.waitsOnce && waitedInVain && !ready) this.#fail(this.#notSent())
    else this.#try()
  }

  /** The owner is closing: there will be no more answers. */
  close(): void {
    if (this.#decided) return
    const sent = this.#underWay && !this.#options.reads
    if (this.#unknown || sent) this.#fail(unknown('Closed before Redis answered', this.#lastError))
    else this.#fail(new BrokerError('ERR_SSE_CLOSED', 'The connection to Redis was closed', this.#lastError))
  }

  /** Called when the bytes of a command are made for the socket. */
  onWritten(): void {
    this.#written = true
  }

  #try(): void {
    if (this.#decided) return
    if (this.#connection.ended) {
      this.close()
      return
    }
    if (!this.#connection.ready) {
      this.#stopWaiting = this.#connection.wait(() => this.#try())
      return
    }
    this.#stopWaiting = undefined
    this.#underWay = true
    this.#written = this.#options.untracked === true || isPipelined(this.#connection.client)
    this.#connection.send(this.#send, this).then(
      (value) => this.#onAnswer(value),
      (error: unknown) => this.#onError(error),
    )
  }

  #onAnswer(value: T): void {
    this.#underWay = false
    if (this.#decided) {
      this.#settle()
      return
    }
    this.#decide()
    this.#resolve(value)
    this.#settle()
  }

  #onError(error: unknown): void {
    this.#underWay = false
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
    if (!isRefused && this.#written && !this.#options.reads) this.#unknown = true
    const again = this.#options.retries === true && (isRefused ? isPassing(error) : true)
    if (!again) this.#fail(this.#errorOf(error, isRefused))
    else this.#retry = setTimeout(() => this.#try(), RETRY_PAUSE_MS)
  }

  #expire(): void {
    if (this.#decided) return
    if (this.#underWay) {
      this.#fail(unknown(`Redis did not answer within ${Math.round(this.#timeoutMs)} ms`, this.#lastError))
      this.#options.onOverdue?.()
    } else if (this.#unknown || isRefusal(this.#lastError)) {
      this.#fail(this.#errorOf(this.#lastError, isRefusal(this.#lastError)))
    } else {
      this.#fail(this.#notSent())
    }
  }

  #notSent(): BrokerError {
    return this.#connection.unavailable(this.#timeoutMs)
  }

  #errorOf(error: unknown, isRefused: boolean): BrokerError {
    const reason = error instanceof Error ? reasonOf(error) : String(error)
    if (this.#unknown) return unknown(`The connection to Redis was lost before the answer (${reason})`, error)
    if (isRefused) return refused(reason, error)
    return new BrokerError('ERR_SSE_BROKER_UNAVAILABLE', `Redis is not reachable: ${reason}`, error)
  }

  #fail(error: SseError): void {
    this.#decide()
    this.#reject(error)
    if (!this.#underWay) this.#settle()
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

function unknown(what: string, cause: unknown): BrokerError {
  return new BrokerError('ERR_SSE_BROKER_TIMEOUT', `${what}; the command may have run`, cause)
}

/** Refused by a server that is no master, or not yet ready; or the try came too late, and another one may not. */
function isPassing(error: unknown): boolean {
  return (
    error instanceof Error &&
    /^(?:-?READONLY|LOADING|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|LATE)|READONLY/.test(error.message)
  )
}

/** Commands of several callers share a pipeline there, so that it cannot be seen whose are written. */
function isPipelined({ options }: RedisClient): boolean {
  return options.enableAutoPipelining === true
}
