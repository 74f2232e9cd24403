/**
 * What the logs of the kit share. Owns the text of an error, the rate (one line for each cause in an interval, because
 * one fault fails many requests), and that a failing `write` harms nothing else.
 */
import { isError, runDetached } from '../core/callbacks.js'
import type { Clock } from '../core/clock.js'

/** An error as text. */
export interface ErrorDetails {
  /** The error's `name`; the type of a thrown value that is not an Error. */
  readonly name: string
  /** The error's message. */
  readonly message: string
  /** The code of the error, or of its root cause. */
  readonly code: string | undefined
  /** The message of the root cause: the last `cause` in the chain. */
  readonly cause: string | undefined
  /** The stack, only if the error has no code. */
  readonly stack: string | undefined
}

/** The maximum number of causes that are counted separately. Further causes share one count. */
const MAX_CAUSES = 200
const MAX_TEXT = 1000
const MAX_CHAIN = 8
/** The key of the causes beyond `MAX_CAUSES`. */
const FURTHER_CAUSES = 'others'
const NO_DETAILS = { code: undefined, cause: undefined, stack: undefined } as const

/** Returns the text of anything that was thrown. Never throws. */
export function detailsOf(error: unknown): ErrorDetails {
  try {
    if (!isError(error)) return { name: typeof error, message: textOf(error), ...NO_DETAILS }
    const root = rootOf(error)
    const code = codeOf(error)
    return {
      name: textOf(error.name),
      message: textOf(error.message),
      code: code ?? codeOf(root),
      cause: root === error ? undefined : textOf(isError(root) ? root.message : root),
      stack: code === undefined ? error.stack?.slice(0, 4 * MAX_TEXT) : undefined,
    }
  } catch {
    // A getter or proxy of the application threw.
    return { name: 'unknown', message: 'An error whose properties cannot be read', ...NO_DETAILS }
  }
}

function rootOf(error: Error): unknown {
  let root: unknown = error
  for (let i = 0; i < MAX_CHAIN && isError(root) && root.cause !== undefined && root.cause !== null; i++)
    root = root.cause
  return root
}

function codeOf(error: unknown): string | undefined {
  const code = isError(error) && 'code' in error ? error.code : undefined
  return code === undefined ? undefined : textOf(code)
}

function textOf(value: unknown): string {
  return String(value).slice(0, MAX_TEXT)
}

/** Admits one error of each cause in each interval, and counts the others. */
export class OncePerCause {
  readonly #intervalMs: number
  readonly #clock: Clock
  readonly #causes = new Map<string, { readonly since: number; suppressed: number }>()

  constructor(intervalMs: number, clock: Clock) {
    this.#intervalMs = intervalMs
    this.#clock = clock
  }

  /**
   * @param source what failed
   * @returns the number of errors of this cause that were suppressed since the last admitted one; `undefined`: this
   * error is suppressed
   */
  admit(source: string, { name, message, code, cause }: ErrorDetails): number | undefined {
    const now = this.#clock.now()
    // Numbers and ids differ between errors of the same cause.
    const key = `${source} ${name} ${code} ${message} ${cause}`.replace(/[0-9a-f-]{16,}|\d+/gi, '#')
    const known = this.#causes.get(key)
    if (known === undefined && this.#causes.size >= MAX_CAUSES) this.#deleteExpired(now)
    const countedKey = known === undefined && this.#causes.size >= MAX_CAUSES ? FURTHER_CAUSES : key
    const last = this.#causes.get(countedKey)
    if (last !== undefined && now - last.since < this.#intervalMs) {
      last.suppressed++
      return undefined
    }
    this.#causes.set(countedKey, { since: now, suppressed: 0 })
    return last?.suppressed ?? 0
  }

  #deleteExpired(now: number): void {
    for (const [key, { since }] of this.#causes) if (now - since >= this.#intervalMs) this.#causes.delete(key)
  }
}

/**
 * Wraps the application's `write`. The first error or rejection is reported as a warning (`process.emitWarning`), later
 * ones are ignored.
 * @param log names the log in the warning
 * @param code the code of the warning
 */
export function lineWriter<Line>(write: (line: Line) => unknown, log: string, code: string): (line: Line) => void {
  let warned = false
  const onFailed = (error: unknown): void => {
    if (warned) return
    warned = true
    const { name, message } = detailsOf(error)
    process.emitWarning(`The ${log} cannot be written: ${name}: ${message}`, { code })
  }
  return (line) => runDetached(() => write(line), onFailed)
}

/** Writes one line of JSON to stderr. */
export function writeToStderr(line: object): void {
  process.stderr.write(`${JSON.stringify(line)}\n`)
}
