/**
 * Calls into the application. Owns that each call ends in one of three ways, whatever the application does: with a value, with a
 * rejection, or with a time-out. Must not know what the value means.
 */
import { types } from 'node:util'
import type { Clock, Timer } from './clock.js'
import { diagnostics } from './diagnostics.js'
import { InvalidOptionError, SseError } from './errors.js'

/** How long the kit waits for a function of the application that has no time-out of its own, in ms. */
export const CALLBACK_TIMEOUT_MS = 10_000

export interface CallbackBounds {
  readonly clock: Clock
  /** 0: no bound. */
  readonly timeoutMs: number
}

/**
 * Calls `call` at once.
 * @throws Error what `call` throws or rejects with; anything that is not an Error becomes the `cause` of one, because Express
 * takes some values (`'route'`, `undefined`) for an instruction
 * @throws SseError `ERR_SSE_CALLBACK_TIMEOUT`; an outcome that comes later is ignored
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

/** For what a function of the application returned against its type. @param expected such as `must return true or false` */
export function invalidResult(name: string, expected: string): SseError {
  return callbackError(name, new SseError('ERR_SSE_CALLBACK_INVALID', `${name} ${expected}`))
}

/** The client gets these errors as answers, so the application has to hear of them in another way. */
function callbackError(operation: string, error: SseError): SseError {
  if (diagnostics.callbackError.hasSubscribers) diagnostics.callbackError.publish({ operation, error })
  return error
}

/** Errors of other realms count as well. */
export function isError(value: unknown): value is Error {
  return value instanceof Error || types.isNativeError(value)
}

/** `reason` if it is an Error, else an Error that has it as `cause`. */
export function toError(name: string, reason: unknown): Error {
  return isError(reason) ? reason : new Error(`${name} failed`, { cause: reason })
}

/**
 * Refuses a promise where a function of the application must answer at once: a promise is truthy, and its rejection would take
 * the process down.
 * @param onRejected gets what the promise rejects with
 * @throws InvalidOptionError
 */
export function answeredAtOnce<T>(name: string, value: T, onRejected: (error: unknown) => void): T {
  if (!isThenable(value)) return value
  value.then(undefined, onRejected)
  throw new InvalidOptionError(`${name} must return its answer, not a promise: find it out in a middleware before`)
}

/** Calls `onFailed` with what `call` throws or rejects with; never throws. For callbacks that nothing waits for. */
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
