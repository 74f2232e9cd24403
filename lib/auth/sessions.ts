/**
 * request ─► `resolve` ─► **session** ─► `req.auth`: for applications that know their users without the kit's tokens. Owns what a
 * session must be; must not know where it comes from.
 */
import type { Request } from 'express'
import type { Auth } from '../core/auth.js'
import type { Clock } from '../core/clock.js'
import { InvalidOptionError } from '../core/errors.js'
import { isObject, nameOf } from './claims.js'
import { tokenExpired } from './refusals.js'

/** Who a request comes from, as the application knows it. */
export interface Session {
  /** A string of 1 to 256 characters, or a whole number, which becomes one. */
  readonly user: string | number
  /** Likewise. An application without tenants returns one and the same for all. */
  readonly tenant: string | number
  /** When the session expires, in ms since 1970: its streams end then. Left out: never. */
  readonly expiresAt?: number | undefined
  /** Names the session: `revocations.revoke({ tokenId: id })` ends its streams and refuses its requests. Left out: only its user can be revoked. */
  readonly id?: string | number | undefined
  /**
   * When the user signed in, in ms since 1970: a session that began after its user or tenant was revoked is good. Left out: it is
   * refused as long as that revocation is kept.
   */
  readonly issuedAt?: number | undefined
  /** Becomes `req.auth.claims`. @defaultValue {} */
  readonly claims?: Readonly<Record<string, unknown>> | undefined
}

/** Finds the session of a request. `undefined` or `null`: nobody is signed in. */
export type Resolve = (req: Request) => Session | null | undefined | Promise<Session | null | undefined>

/**
 * The caller as `req.auth` has it.
 * @throws RequestError `ERR_SSE_TOKEN_EXPIRED`
 * @throws InvalidOptionError for a session that is not of the documented form
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
