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
