/**
 * Names of users and tenants in the claims of tokens and in sessions.
 */
import { answeredAtOnce } from '../core/callbacks.js'
import { RequestError } from '../core/errors.js'

/**
 * Where a name is in the claims: the name of a claim, a path with dots (`firebase.tenant`), or a function. A claim
 * whose own name contains dots (`https://app.example/tenant`) takes precedence over a path.
 */
export type ClaimSource = string | ((claims: Readonly<Record<string, unknown>>) => unknown)

const MAX_NAME_LENGTH = 256

/**
 * @returns `undefined` if there is no valid name
 * @throws Error that the function throws
 * @throws InvalidOptionError if the function returns a promise
 */
export function nameClaim(
  option: 'userClaim' | 'tenantClaim',
  claims: Readonly<Record<string, unknown>>,
  source: ClaimSource,
): string | undefined {
  if (typeof source !== 'function') return nameOf(valueAt(claims, source))
  try {
    // The error of a promise is ignored: that the function returned a promise is reported.
    return nameOf(answeredAtOnce(option, source(claims), () => undefined))
  } catch (error) {
    // An error of the server, even if it is a RequestError of the kit.
    throw error instanceof RequestError ? new Error(`${option} failed`, { cause: error }) : error
  }
}

/** A well-formed string of 1 to 256 characters. An integer is converted to a string, because databases number users. */
export function nameOf(value: unknown): string | undefined {
  if (typeof value === 'number') return Number.isSafeInteger(value) ? String(value) : undefined
  const isName = typeof value === 'string' && value !== '' && value.length <= MAX_NAME_LENGTH && value.isWellFormed()
  return isName ? value : undefined
}

/** At each level the longest matching name takes precedence, so that names with dots are found at any level. */
function valueAt(object: Readonly<Record<string, unknown>>, path: string): unknown {
  if (Object.hasOwn(object, path)) return object[path]
  for (let dot = path.lastIndexOf('.'); dot > 0; dot = path.lastIndexOf('.', dot - 1)) {
    const name = path.slice(0, dot)
    const inner = Object.hasOwn(object, name) ? object[name] : undefined
    const value = isObject(inner) ? valueAt(inner, path.slice(dot + 1)) : undefined
    if (value !== undefined) return value
  }
  return undefined
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return value !== null && typeof value === 'object' && !Array.isArray(value)
}
