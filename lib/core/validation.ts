import { InvalidOptionError } from './errors.js'

/**
 * Checks one numeric option where it is given.
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
