/**
 * Calls into the application. Owns that each call ends with a value, a rejection or a time-out, whatever the
 * application does. Must not know what the value means.
 */
import { types } from 'node:util'
import type { Clock, Timer } from './clock.js'
import { diagnostics, reportTo } from './diagnostics.js'
import { InvalidOptionError, SseError } from './errors.js'

/** How long the kit waits for a function of the application, in ms, where no option sets another time-out. */
export const CALLBACK_TIMEOUT_MS = 10_000

export interface CallbackBounds {
  readonly clock: Clock
  /** 0: no time-out. */
  readonly timeoutMs: number
}

/**
 * Calls `call` synchronously and waits for its result.
 * @throws Error that `call` throws or rejects with. A value that is not an Error becomes the `cause` of a new Error,
 * because Express interprets some values (`'route'`, `undefined`) as instructions.
 * @throws SseError `ERR_SSE_CALLBACK_TIMEOUT` after `timeoutMs`. A later result is ignored.
 */
export function settle<T>(
  name: string,
  call: () => T | PromiseLike<T>,
  { clock, timeoutMs }: CallbackBounds,
): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    let timer: Timer | undefined
    const fail = (reason: unknown): void => {
      timer?.cancel()
      reject(toError(name, reason))
    }
    let returned: T | PromiseLike<T>
    try {
      returned = call()
    } catch (error) {
      fail(error)
      return
    }
    if (timeoutMs > 0) {
      timer = clock.after(timeoutMs, () =>
        reject(
          callbackError(
            name,
            new SseError('ERR_SSE_CALLBACK_TIMEOUT', `${name} did not settle within ${timeoutMs} ms`, {
              headers: { 'Retry-After': '1' },
            }),
          ),
        ),
      )
    }
    Promise.resolve(returned).then((value) => {
      timer?.cancel()
      resolve(value)
    }, fail)
  })
}

/**
 * The error for a function of the application that returned a value of the wrong type.
 * @param expected such as `must return true or false`
 */
export function invalidResult(name: string, expected: string): SseError {
  return callbackError(name, new SseError('ERR_SSE_CALLBACK_INVALID', `${name} ${expected}`))
}

/** The client receives these errors as responses. The application is notified through diagnostics. */
function callbackError(operation: string, error: SseError): SseError {
  reportTo(diagnostics.callbackError, operation, error)
  return error
}

/** Also true for errors of other realms (`vm` contexts). */
export function isError(value: unknown): value is Error {
  return value instanceof Error || types.isNativeError(value)
}

/** Returns `reason` if it is an Error, otherwise a new Error with `reason` as its `cause`. */
export function toError(name: string, reason: unknown): Error {
  return isError(reason) ? reason : new Error(`${name} failed`, { cause: reason })
}

/**
 * Returns a function that passes a thrown value to Express's `next` as an Error. Express interprets some other values
 * (`'route'`, `'router'`, `undefined`) as instructions, and would continue with the request as if it had been admitted.
 */
export function failing(next: (error: Error) => unknown, name = 'The handler'): (reason: unknown) => void {
  return (reason) => void next(toError(name, reason))
}

/**
 * Rejects a promise where a function of the application must return its result synchronously: a promise is truthy, and
 * its rejection would end the process.
 * @param onRejected receives the reason if the promise rejects
 * @throws InvalidOptionError
 */
export function answeredAtOnce<T>(name: string, value: T, onRejected: (error: unknown) => void): T {
  if (!isThenable(value)) return value
  value.then(undefined, onRejected)
  throw new InvalidOptionError(`${name} must return its result, not a promise: compute it before`)
}

/**
 * Runs a callback whose result nothing waits for. Never throws: an error or rejection goes to `onFailed`.
 */
export function runDetached(call: () => unknown, onFailed: (error: unknown) => void): void {
  try {
    const returned = call()
    if (isThenable(returned)) returned.then(undefined, onFailed)
  } catch (error) {
    onFailed(error)
  }
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return value !== null && typeof value === 'object' && 'then' in value && typeof value.then === 'function'
}

/** The listeners of one kind of event. Each owner can remove only the listeners that it added. */
export class Listeners<T> {
  /** Each entry is an object, so the same function can be added twice. */
  readonly #entries = new Set<{ readonly listener: (value: T) => void }>()

  /** @returns removes the listener; idempotent */
  add(listener: (value: T) => void): () => void {
    const entry = { listener }
    this.#entries.add(entry)
    return () => void this.#entries.delete(entry)
  }

  /** Calls the listeners that were added before this call. They must not throw. */
  notify(value: T): void {
    for (const { listener } of [...this.#entries]) listener(value)
  }
}
