/** What is logged of an error, and how often: once for each cause, because whatever fails once fails for all requests. */
import { isError } from '../core/callbacks.js'
import type { Clock } from '../core/clock.js'

/** What is known of an error, as text. */
export interface ErrorDetails {
  readonly name: string
  readonly message: string
  readonly code: string | undefined
  /** The message of what caused it, at the end of the chain. */
  readonly cause: string | undefined
  /** Only where no code says what it is. */
  readonly stack: string | undefined
}

/** Causes kept at most. Those above it count as one. */
const MAX_CAUSES = 200
const MAX_TEXT = 1000
const MAX_CHAIN = 8

/** Anything may be thrown; this never throws. */
export function detailsOf(error: unknown): ErrorDetails {
  try {
    if (!isError(error)) return { name: typeof error, message: textOf(error), ...NOTHING_MORE }
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
    // A getter or a proxy of the application's own.
    return { name: 'unknown', message: 'An error that cannot be read', ...NOTHING_MORE }
  }
}

const NOTHING_MORE = { code: undefined, cause: undefined, stack: undefined } as const

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

/** Lets one of each cause through in each interval, and counts the others. */
export class OncePerCause {
  readonly #intervalMs: number
  readonly #clock: Clock
  readonly #causes = new Map<string, { readonly since: number; suppressed: number }>()

  constructor(intervalMs: number, clock: Clock) {
    this.#intervalMs = intervalMs
    this.#clock = clock
  }

  /**
   * @param source where it failed
   * @returns how many of this cause were left out since the last that was let through; `undefined`: leave this one out too
   */
  admit(source: string, { name, message, code, cause }: ErrorDetails): number | undefined {
    const now = this.#clock.now()
    // Numbers and ids differ from one to the next of the same cause.
    const key = `${source} ${name} ${code} ${message} ${cause}`.replace(/[0-9a-f-]{16,}|\d+/gi, '#')
    const known = this.#causes.get(key)
    if (known === undefined && this.#causes.size >= MAX_CAUSES) this.#forget(now)
    const counted = known === undefined && this.#causes.size >= MAX_CAUSES ? OTHERS : key
    const last = this.#causes.get(counted)
    if (last !== undefined && now - last.since < this.#intervalMs) {
      last.suppressed++
      return undefined
    }
    this.#causes.set(counted, { since: now, suppressed: 0 })
    return last?.suppressed ?? 0
  }

  #forget(now: number): void {
    for (const [key, { since }] of this.#causes) if (now - since >= this.#intervalMs) this.#causes.delete(key)
  }
}

const OTHERS = 'others'
