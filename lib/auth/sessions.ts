/**
 * request ─► `resolve` ─► **session** ─► `req.auth`: for applications that authenticate users without tokens of the
 * kit. Owns the form of a session. Must not know where sessions come from.
 */
import type { Request } from 'express'
import type { Auth } from '../core/auth.js'
import type { Clock } from '../core/clock.js'
import { InvalidOptionError } from '../core/errors.js'
import { isObject, nameOf } from './claims.js'
import { tokenExpired } from './refusals.js'

/** The user of a request, as the application knows it. */
export interface Session {
  /** A string of 1 to 256 characters, or an integer, which is converted to a string. */
  readonly user: string | number
  /** In the same form. An application without tenants returns the same tenant for all users. */
  readonly tenant: string | number
  /** When the session expires, in ms since 1970. Its streams end then. Unset: never. */
  readonly expiresAt?: number | undefined
  /**
   * The id of the session: `revocations.revoke({ tokenId: id })` ends its streams and refuses its requests. Unset: only
   * its user and its tenant can be revoked.
   */
  readonly id?: string | number | undefined
  /**
   * When the user signed in, in ms since 1970. A session that began after its user or tenant was revoked is valid.
   * Unset: it is refused as long as that revocation is kept.
   */
  readonly issuedAt?: number | undefined
  /** The `req.auth.claims` of the request. @defaultValue {} */
  readonly claims?: Readonly<Record<string, unknown>> | undefined
}

/** Returns the session of a request. `undefined` or `null`: nobody is signed in. */
export type Resolve = (req: Request) => Session | null | undefined | Promise<Session | null | undefined>

/**
 * Converts a session to the value of `req.auth`.
 * @throws RequestError `ERR_SSE_TOKEN_EXPIRED`
 * @throws InvalidOptionError if the session does not have the documented form
 */
export function toAuth(session: Session, clock: Clock): Auth {
  if (!isObject(session)) throw invalid('an object or undefined')
  const { user, tenant, expiresAt, id, issuedAt, claims = {} } = session
  const sessionId = nameOf(id)
  if (id !== undefined && sessionId === undefined) throw invalid('an id of 1 to 256 characters')
  if (!isTime(expiresAt)) throw invalid('expiresAt as a number, in ms since 1970')
  if (!isTime(issuedAt)) throw invalid('issuedAt as a number, in ms since 1970')
  if (!isObject(claims)) throw invalid('claims as an object')
  if (expiresAt !== undefined && clock.wallTime() >= expiresAt) {
    throw tokenExpired('The session has expired')
  }
  return {
    user: requiredName('user', user),
    tenant: requiredName('tenant', tenant),
    expiresAt: expiresAt ?? Number.POSITIVE_INFINITY,
    claims,
    ...(sessionId !== undefined && { id: sessionId }),
    ...(issuedAt !== undefined && { issuedAt }),
  }
}

function isTime(value: unknown): boolean {
  return value === undefined || (typeof value === 'number' && !Number.isNaN(value))
}

function requiredName(member: string, value: unknown): string {
  const name = nameOf(value)
  if (name === undefined) throw invalid(`a ${member} of 1 to 256 characters`)
  return name
}

function invalid(expected: string): InvalidOptionError {
  return new InvalidOptionError(
    `resolve must return { user, tenant, expiresAt?, id?, issuedAt?, claims? } or undefined: expected ${expected}`,
  )
}
