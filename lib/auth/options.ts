import type { Request, RequestHandler } from 'express'
import type { Clock } from '../core/clock.js'
import { InvalidOptionError } from '../core/errors.js'
import { systemClock } from '../core/system-clock.js'
import { wholeNumber } from '../core/validation.js'
import type { KeyValueStore } from '../store/store.js'
import type { ClaimSource } from './claims.js'
import type { Revocations } from './revocations.js'
import type { Resolve } from './sessions.js'
import { parseUrl, type SourceRules, TICKET_PARAMETER } from './token-sources.js'
import { JWT_ALGORITHMS, type JwtAlgorithm, type JwtHeader, type VerifyKey, type VerifyRules } from './verify.js'

/** Options of `authenticate`. */
export interface AuthenticateOptions {
  /**
   * The secret of tokens that are signed with HS algorithms, at least 32 bytes. With several, any of them may have
   * signed a token, so that a secret can be replaced while tokens of the old one are valid. Set exactly one of
   * `secret`, `getKey` and `resolve`.
   */
  readonly secret?: string | Buffer | readonly (string | Buffer)[]
  /**
   * Returns the key of a token, usually by the `kid` of its header. `undefined`: the key is unknown (401). If it throws
   * or rejects, the error goes to Express. Needs `algorithms`. It is called for every token of the right form, also for
   * forged ones: cache the keys, limit how often an unknown `kid` is looked up, and return `undefined` for it
   * (`jwks-rsa`: set `rateLimit: true` and catch `SigningKeyNotFoundError`).
   */
  readonly getKey?: (header: JwtHeader, req: Request) => VerifyKey | undefined | Promise<VerifyKey | undefined>
  /**
   * Instead of tokens: returns the session of a request, for example from express-session, Passport or another library
   * for tokens, as `{ user, tenant, expiresAt?, id?, issuedAt?, claims? }`. `undefined`: nobody is signed in (401,
   * unless `optional`). Its errors go to Express, as do invalid sessions and `ERR_SSE_CALLBACK_TIMEOUT` after 10 s. The
   * session library must protect against cross-site requests. Options for tokens must not be set; `tickets` and
   * `revocations` may be.
   */
  readonly resolve?: Resolve
  /**
   * The accepted algorithms: HS, RS, PS or ES with 256, 384 or 512, EdDSA, Ed25519 and Ed448. HS algorithms cannot be
   * combined with others, because a public key could then be used as a secret.
   * @defaultValue ['HS256'] with `secret`
   */
  readonly algorithms?: readonly JwtAlgorithm[]
  /** The `iss` that a token must have, or several of which it must have one. Unset: not checked. */
  readonly issuer?: string | readonly string[]
  /** The `aud` that a token must have, or several of which it must have one. Unset: not checked. */
  readonly audience?: string | readonly string[]
  /**
   * How far the clocks of issuer and server may differ, in seconds: a token is valid that much longer than its `exp`
   * and before its `nbf`. At most 60. @defaultValue 0
   */
  readonly clockToleranceS?: number
  /**
   * The claim with the user: its name, a path with dots such as `firebase.tenant`, or a function of all claims. A claim
   * whose name contains dots takes precedence over a path. Integers are converted to strings. @defaultValue 'sub'
   */
  readonly userClaim?: ClaimSource
  /** The claim with the tenant, in the same form. @defaultValue 'tenant' */
  readonly tenantClaim?: ClaimSource
  /** The maximum length of a token in bytes. A longer token is refused without being parsed. @defaultValue 8192 */
  readonly maxTokenBytes?: number
  /**
   * The name of the cookie that may contain the token. A cookie is refused (403) on requests that another site caused.
   * `null`: cookies are not read. @defaultValue null
   */
  readonly cookie?: string | null
  /**
   * The query parameter that may contain the token, on GET and HEAD, for clients that cannot set headers. URLs are
   * logged, so such tokens should expire soon; a ticket is better. The parameter is removed from `req.url`,
   * `req.originalUrl` and `req.query`, also if the token came in a header. Middleware that logs before should log
   * `redactUrl(req.url)`. `null`: not read.
   * @defaultValue 'token'
   */
  readonly query?: string | null
  /**
   * The store of `tickets()`. A GET request may then have a ticket in `?ticket=`. The ticket is consumed in any case
   * and removed from the URL. It takes precedence over a token in the query. A HEAD request cannot use a ticket.
   * @defaultValue none
   */
  readonly tickets?: KeyValueStore
  /** Refuses revoked tokens, sessions and tickets; see `createRevocations`. @defaultValue none */
  readonly revocations?: Pick<Revocations, 'isRevoked'>
  /**
   * Called for each request whose token or ticket is invalid (401), for example `rateLimit({ by: 'ip', … })`: it calls
   * `next()` and the 401 is sent, or it answers with 429. After a 429, tickets from that address must pass it before
   * they are looked up in the store, until its `Retry-After` has passed. It is never called for valid tokens.
   * @defaultValue none
   */
  readonly failureLimit?: RequestHandler
  /**
   * What happens if the revocations cannot be read. `closed`: 503. `open`: revoked tokens are accepted meanwhile.
   * @defaultValue 'closed'
   */
  readonly onRevocationError?: 'open' | 'closed'
  /** Origins of other sites, such as `https://app.example`, whose pages may use the cookie. @defaultValue [] */
  readonly allowedOrigins?: readonly string[]
  /**
   * `true`: a request without a token continues without `req.auth`. An invalid token is refused with 401 in any case.
   * @defaultValue false
   */
  readonly optional?: boolean
  /** For tests. @defaultValue the clock of the process */
  readonly clock?: Clock
}

/** Options that must not be set with `resolve`. */
const TOKEN_OPTIONS = [
  'secret',
  'getKey',
  'algorithms',
  'issuer',
  'audience',
  'clockToleranceS',
  'userClaim',
  'tenantClaim',
  'maxTokenBytes',
  'cookie',
  'query',
  'allowedOrigins',
] as const satisfies readonly (keyof AuthenticateOptions)[]

/** @throws InvalidOptionError */
export function assertSessionOptions(options: AuthenticateOptions): void {
  if (typeof options.resolve !== 'function') throw new InvalidOptionError('resolve must be a function')
  const other = TOKEN_OPTIONS.find((name) => options[name] !== undefined)
  if (other !== undefined) throw new InvalidOptionError(`${other} is for tokens and has no meaning with resolve`)
}

/** @throws InvalidOptionError */
export function verifyRules(options: AuthenticateOptions): VerifyRules {
  const { secret, getKey, issuer, audience } = options
  if ((secret === undefined) === (getKey === undefined)) {
    throw new InvalidOptionError('authenticate() needs one of secret, getKey and resolve')
  }
  if (getKey !== undefined && typeof getKey !== 'function') throw new InvalidOptionError('getKey must be a function')
  return {
    algorithms: acceptedAlgorithms(options),
    issuer: issuer === undefined ? undefined : oneOrMoreStrings('issuer', issuer),
    audience: audience === undefined ? undefined : oneOrMoreStrings('audience', audience),
    clockToleranceS: wholeNumber('clockToleranceS', options.clockToleranceS ?? 0, 0, 60),
    userClaim: claimSource('userClaim', options.userClaim ?? 'sub'),
    tenantClaim: claimSource('tenantClaim', options.tenantClaim ?? 'tenant'),
    maxTokenBytes: wholeNumber('maxTokenBytes', options.maxTokenBytes ?? 8192, 64, 1_048_576),
    clock: options.clock ?? systemClock,
  }
}

function acceptedAlgorithms({ secret, algorithms }: AuthenticateOptions): readonly JwtAlgorithm[] {
  const accepted = algorithms ?? (secret === undefined ? [] : (['HS256'] as const))
  if (!Array.isArray(accepted) || accepted.length === 0) {
    throw new InvalidOptionError('algorithms must name the algorithms that getKey has keys for')
  }
  for (const algorithm of accepted as readonly unknown[]) {
    if ((JWT_ALGORITHMS as readonly unknown[]).includes(algorithm)) continue
    throw new InvalidOptionError(`algorithms must be of ${JWT_ALGORITHMS.join(', ')}; got ${String(algorithm)}`)
  }
  const symmetric = accepted.filter(isSymmetric).length
  if (symmetric !== 0 && symmetric !== accepted.length) {
    throw new InvalidOptionError('algorithms must not mix HS with others: a public key could pass for a secret')
  }
  if (secret !== undefined && symmetric === 0) {
    throw new InvalidOptionError('With secret all algorithms must be HS; give public keys through getKey')
  }
  return [...accepted]
}

export function isSymmetric(algorithm: JwtAlgorithm): boolean {
  return algorithm.startsWith('HS')
}

/** @throws InvalidOptionError */
export function sourceRules({
  cookie = null,
  query = 'token',
  allowedOrigins = [],
  tickets,
  resolve,
}: AuthenticateOptions): SourceRules {
  // RFC 6265, 4.1.1: a cookie's name is a token.
  if (cookie !== null && !/^[\w!#$%&'*+.^`|~-]+$/.test(cookie)) {
    throw new InvalidOptionError('cookie must be the name of a cookie, or null')
  }
  if (query !== null && (typeof query !== 'string' || query === '')) {
    throw new InvalidOptionError('query must be the name of a parameter, or null')
  }
  if (tickets !== undefined && typeof tickets?.take !== 'function')
    throw new InvalidOptionError('tickets must be a store')
  if (tickets !== undefined && resolve === undefined && query === TICKET_PARAMETER) {
    throw new InvalidOptionError(`query must not be ${TICKET_PARAMETER} where tickets are`)
  }
  for (const origin of allowedOrigins) {
    if (typeof origin === 'string' && parseUrl(origin)?.origin === origin) continue
    throw new InvalidOptionError(`allowedOrigins must be origins such as https://app.example, got ${String(origin)}`)
  }
  return {
    cookie: cookie ?? undefined,
    query: resolve === undefined ? (query ?? undefined) : undefined,
    header: resolve === undefined,
    tickets: tickets !== undefined,
    allowedOrigins: new Set(allowedOrigins),
  }
}

function oneOrMoreStrings(name: string, value: string | readonly string[]): readonly string[] {
  const values: readonly unknown[] = typeof value === 'string' ? [value] : value
  if (Array.isArray(values) && values.length > 0 && values.every((each) => typeof each === 'string' && each !== '')) {
    return [...(values as readonly string[])]
  }
  throw new InvalidOptionError(`${name} must be a non-empty string or several`)
}

function claimSource(name: string, claim: ClaimSource): ClaimSource {
  if (typeof claim === 'function' || (typeof claim === 'string' && claim !== '')) return claim
  throw new InvalidOptionError(`${name} must be the name of a claim, a path with dots, or a function`)
}
