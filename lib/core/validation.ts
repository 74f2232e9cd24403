import { InvalidOptionError } from './errors.js'

/**
 * Checks one numeric option.
 * @throws InvalidOptionError unless `value` is a whole number within [`least`, `most`]
 */
export function wholeNumber(
  name: string,
  value: number,
  least: number,
  most: number = Number.MAX_SAFE_INTEGER,
): number {
  if (isWholeNumber(value, least, most)) return value
  throw new InvalidOptionError(`${name} must be a whole number from ${least} to ${most}, got ${String(value)}`)
}

/** Whether an untrusted value is a whole number within [`least`, `most`]. */
export function isWholeNumber(value: unknown, least: number, most: number = Number.MAX_SAFE_INTEGER): value is number {
  return Number.isSafeInteger(value) && (value as number) >= least && (value as number) <= most
}

/**
 * Checks the option `signal`.
 * @throws InvalidOptionError unless it is an AbortSignal or absent
 */
export function assertSignal(signal: unknown): void {
  if (signal !== undefined && !(signal instanceof AbortSignal)) {
    throw new InvalidOptionError('signal must be an AbortSignal')
  }
}

/**
 * Checks one option that has a fixed set of values.
 * @throws InvalidOptionError unless `value` is one of `allowed`
 */
export function oneOf<Value extends string | null>(name: string, value: Value, allowed: readonly Value[]): Value {
  if (allowed.includes(value)) return value
  throw new InvalidOptionError(`${name} must be one of ${allowed.join(', ')}, got ${String(value)}`)
}

/**
 * Checks one option that must be an object of this package, for example the result of `createPressure`. An object of
 * another copy of the package is refused too, because its internal members may differ.
 * @param creator the name of the function that makes such objects
 * @throws InvalidOptionError unless `value` is an instance of `type`
 */
export function madeBy<T>(creator: string, name: string, value: unknown, type: abstract new (...args: never) => T): T {
  if (value instanceof type) return value
  throw new InvalidOptionError(
    `${name} must be an object returned by ${creator}(). If it is, two copies of express-sse-kit are installed and ` +
      'the object belongs to the other copy: run "npm ls express-sse-kit" and remove one',
  )
}

/**
 * Rejects an option that is given under its former name, which would otherwise be ignored.
 * @throws InvalidOptionError if `options` has `former`
 */
export function rejectFormerName(options: object, former: string, name: string): void {
  if (former in options) throw new InvalidOptionError(`The option ${former} no longer exists: use ${name} instead`)
}
