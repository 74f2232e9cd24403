/**
 * `authenticate()` ─► `req.auth` ─► **authOf** ─► streams, polls, acknowledgements, limits, routers: the only place
 * that reads `req.auth`. Other libraries use the name too (express-jwt, Auth0, Clerk), so a value is recognised by its
 * shape.
 */

import type { Auth } from '../core/auth.js'
import { SseError } from '../core/errors.js'

/** The property of a request that is read here. */
interface AuthRequest {
  readonly auth?: unknown
}

/**
 * The user of a request. `undefined`: nobody is signed in, or `authenticate()` has not run.
 * @throws SseError `ERR_SSE_AUTH_FOREIGN` if another library has set `req.auth`. Its user would be unknown, so all of
 * its users would share limits and streams, and its expiry would be ignored.
 */
export function authOf(req: object): Auth | undefined {
  const { auth } = req as AuthRequest
  if (auth === undefined || auth === null) return undefined
  if (isAuth(auth)) return auth
  throw new SseError(
    'ERR_SSE_AUTH_FOREIGN',
    'req.auth has no { user, tenant, expiresAt, claims }, because another library has set it. ' +
      'Mount authenticate({ resolve: (req) => ({ user, tenant, expiresAt, id }) }) after that library.',
  )
}

/**
 * Distinguishes requests that `authenticate()` has processed from those where another library has set `req.auth` to
 * `undefined`.
 */
const authenticated = new WeakSet<object>()

/** Records that `authenticate()` has run on a request, whether or not somebody is signed in. */
export function markAuthenticated(req: object): void {
  authenticated.add(req)
}

export function wasAuthenticated(req: object): boolean {
  return authenticated.has(req)
}

/** Whether a value has the shape of what `authenticate()` sets. */
export function isAuth(value: unknown): value is Auth {
  if (value === null || typeof value !== 'object') return false
  const { user, tenant, expiresAt, claims, id, issuedAt } = value as { readonly [name in keyof Auth]?: unknown }
  return (
    isName(user) &&
    isName(tenant) &&
    isTime(expiresAt) &&
    claims !== null &&
    typeof claims === 'object' &&
    (id === undefined || isName(id)) &&
    (issuedAt === undefined || isTime(issuedAt))
  )
}

function isName(value: unknown): boolean {
  return typeof value === 'string' && value !== '' && value.isWellFormed()
}

function isTime(value: unknown): boolean {
  return typeof value === 'number' && !Number.isNaN(value)
}
