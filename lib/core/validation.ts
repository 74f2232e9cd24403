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
  if (Number.isSafeInteger(value) && value >= least && value <= most) return value
  throw new InvalidOptionError(`${name} must be a whole number from ${least} to ${most}, got ${String(value)}`)
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
 * Checks one option that must be an object of the kit: the kit uses members of it that are not public.
 * @param factory the function that creates such objects
 * @throws InvalidOptionError for any other object, also one of another copy of the kit
 */
export function createdBy<T>(
  factory: string,
  name: string,
  value: unknown,
  type: abstract new (...args: never[]) => T,
): T {
  if (value instanceof type) return value
  throw new InvalidOptionError(
    `${name} must be an object that ${factory}() returned. Objects of another installed copy of the package are ` +
      'refused too.',
  )
}
