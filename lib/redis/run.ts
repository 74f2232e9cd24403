/**
 * One run of commands in Redis. Owns the deadlines, the retries, and a truthful outcome: done, not done or unknown.
 * Commands of several callers may share a run. Each has its own deadline and outcome; they are attempted together.
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
 * outcome. At its deadline a command is rejected, but it is *settled* only when the client does not hold it any more:
 * until then it counts against the bounds of the caller.
 */
import type { Channel } from 'node:diagnostics_channel'
import type { Clock, Timer } from '../core/clock.js'
import { BrokerError, SseError } from '../core/errors.js'
import type { RedisClient } from './connect.js'
import type { RedisConnection, WriteListener } from './connection.js'
import { isProgramError, isRefusal, isTemporaryRefusal, notDone, reasonOf, unknownOutcome } from './errors.js'

const RETRY_PAUSE_MS = 20

/** A command, and who waits for its outcome. */
export abstract class Command<T> {
  /** Resolved or rejected. Written by the run only. */
  decided = false
  /** Until when the command waits and is attempted, on the run's clock. */
  abstract readonly deadline: number
  /** How long before its deadline the command was accepted, in ms. For error messages. */
  abstract readonly timeoutMs: number
  abstract resolve(reply: T): void
  abstract reject(error: SseError): void
  /** Called once, when the command neither waits nor is in flight any more. Never before its outcome. */
  abstract onSettled(): void
}

/** Sends the commands. @returns the reply to each, in order, or the error with which Redis refused it */
export type SendAll<T, K extends Command<T>, C extends RedisClient = RedisClient> = (
  commands: readonly K[],
  client: C,
  listener: WriteListener,
) => Promise<readonly (T | Error)[]>

/** The diagnostics channel on which commands are reported once they have succeeded or failed, and their name. */
export interface CommandReport {
  readonly to: Channel
  readonly command: string
}

/** Publishes that a command has succeeded, or failed with `error`. */
export function reportCommand({ to, command }: CommandReport, ms: number, error: unknown): void {
  if (to.hasSubscribers) to.publish({ command, ms, error })
}

export interface RunOptions {
  /** Each command is reported with its duration in the run, and its error if it fails. @defaultValue no report */
  readonly report?: CommandReport | undefined
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
  /** Called at a deadline if an attempt is still in flight. */
  readonly onOverdue?: () => void
}

export class Run<T, K extends Command<T>> {
  readonly #connection: RedisConnection
  readonly #clock: Clock
  readonly #send: SendAll<T, K>
  readonly #options: RunOptions
  readonly #onOver: (run: { close(): void }) => void
  readonly #beganAt: number
  /** The commands that are not settled. While they are in flight, some may be decided. */
  #commands: readonly K[]
  #deadline: Timer | undefined
  #retry: NodeJS.Timeout | undefined
  #stopWaiting: (() => void) | undefined
  #inFlight = false
  /** The current attempt was written. */
  #written = false
  /** An attempt was written and got no reply. */
  #unknown = false
  #lastError: unknown

  /** @param onOver called once, when all commands are settled */
  constructor(
    connection: RedisConnection,
    clock: Clock,
    commands: readonly K[],
    send: SendAll<T, K>,
    options: RunOptions,
    onOver: (run: { close(): void }) => void,
  ) {
    this.#connection = connection
    this.#clock = clock
    this.#commands = commands
    this.#send = send
    this.#options = options
    this.#onOver = onOver
    this.#beganAt = clock.now()
  }

  start(): void {
    const { ready, waitedInVain, ended } = this.#connection
    if (ended) {
      this.close()
      return
    }
    if (this.#options.failsFast && waitedInVain && !ready) {
      this.#fail(this.#commands, this.#notSent)
      return
    }
    this.#awaitDeadline()
    this.#attempt()
  }

  /** Rejects the commands that have no outcome, because no more replies will arrive. */
  close(): void {
    const sent = this.#inFlight && !this.#options.readOnly
    this.#fail(this.#commands, () =>
      this.#unknown || sent
        ? unknownOutcome('The connection to Redis was closed before the reply', this.#lastError)
        : new BrokerError('ERR_SSE_CLOSED', 'The connection to Redis was closed', this.#lastError),
    )
  }

  /** Called when a command is serialised for the socket. */
  onWritten(): void {
    this.#written = true
  }

  #attempt(): void {
    if (this.#commands.length === 0) return
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
    const commands = this.#commands
    this.#connection
      .send((client, listener) => this.#send(commands, client, listener), this)
      .then(
        (replies) => this.#onReplies(replies),
        (error: unknown) => this.#onError(error instanceof Error ? error : new Error(String(error))),
      )
  }

  #onError(error: Error): void {
    if (!isRefusal(error) && this.#written && !this.#options.readOnly) this.#unknown = true
    this.#onReplies(this.#commands.map(() => error))
  }

  #onReplies(replies: readonly (T | Error)[]): void {
    this.#inFlight = false
    const commands = this.#commands
    const again = commands.filter(({ decided }, i) => !decided && this.#retries(replies[i]))
    this.#commands = again
    if (again.length === 0) this.#end()
    else this.#retry = setTimeout(() => this.#attempt(), RETRY_PAUSE_MS)
    for (const [i, command] of commands.entries()) {
      const reply = replies[i] as T | Error
      if (reply instanceof Error) this.#lastError = reply
      if (again.length > 0 && again.includes(command)) continue
      if (reply instanceof Error) this.#reject(command, () => this.#errorOf(reply))
      else this.#resolve(command, reply)
      command.onSettled()
    }
  }

  #resolve(command: K, reply: T): void {
    if (command.decided) return
    command.decided = true
    this.#report(undefined)
    command.resolve(reply)
  }

  #reject(command: K, errorFor: (command: K) => SseError): void {
    if (command.decided) return
    command.decided = true
    const error = errorFor(command)
    this.#report(error)
    command.reject(error)
  }

  #report(error: SseError | undefined): void {
    const { report } = this.#options
    if (report !== undefined) reportCommand(report, this.#clock.now() - this.#beganAt, error)
  }

  #retries(reply: unknown): boolean {
    if (!(reply instanceof Error) || reply instanceof SseError || this.#options.retries !== true) return false
    return isRefusal(reply) ? isTemporaryRefusal(reply) : !isProgramError(reply)
  }

  #awaitDeadline(): void {
    let deadline = Number.POSITIVE_INFINITY
    for (const command of this.#commands) if (!command.decided) deadline = Math.min(deadline, command.deadline)
    if (deadline === Number.POSITIVE_INFINITY) return
    this.#deadline = this.#clock.after(Math.max(1, deadline - this.#clock.now()), () => this.#expire())
  }

  #expire(): void {
    const now = this.#clock.now()
    const due = this.#commands.filter(({ decided, deadline }) => !decided && deadline <= now)
    const overdue = this.#inFlight && due.length > 0
    this.#fail(due, (command) => {
      if (overdue) {
        const withinMs = Math.round(command.timeoutMs)
        return unknownOutcome(`Redis did not reply within ${withinMs} ms`, this.#lastError)
      }
      if (this.#unknown || isRefusal(this.#lastError)) return this.#errorOf(this.#lastError)
      return this.#notSent(command)
    })
    this.#awaitDeadline()
    if (overdue) this.#options.onOverdue?.()
  }

  readonly #notSent = ({ timeoutMs }: K): BrokerError => this.#connection.unavailable(timeoutMs)

  #errorOf(error: unknown): SseError {
    if (error instanceof SseError) return error
    if (this.#unknown) {
      const what = isProgramError(error)
        ? 'An error in the program'
        : 'The connection to Redis was lost before the reply'
      return unknownOutcome(`${what} (${reasonOf(error)})`, error)
    }
    return notDone(error)
  }

  /** Rejects commands. Those in flight are settled with the reply. */
  #fail(failed: readonly K[], errorFor: (command: K) => SseError): void {
    if (failed.length === 0) return
    const settles = !this.#inFlight
    if (settles) {
      this.#commands = this.#commands.filter((command) => !failed.includes(command))
      if (this.#commands.length === 0) this.#end()
    }
    for (const command of failed) {
      this.#reject(command, errorFor)
      if (settles) command.onSettled()
    }
  }

  #end(): void {
    this.#deadline?.cancel()
    clearTimeout(this.#retry)
    this.#stopWaiting?.()
    this.#onOver(this)
  }
}

/** Commands of several callers share a pipeline, so the kit cannot see whose commands were written. */
function isPipelined({ options }: RedisClient): boolean {
  return options.enableAutoPipelining === true
}
