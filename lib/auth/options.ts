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
   * The secret of tokens signed with HS algorithms, at least 32 bytes. Several: any of them may have signed, so that a
   * secret can be replaced while tokens of the old one live. One of this, `getKey` and `resolve`.
   */
  readonly secret?: string | Buffer | readonly (string | Buffer)[]
  /**
   * Finds the key for a token, by the `kid` of its header as a rule. `undefined` for a key that is not known: 401. If it
   * throws or rejects, no one can be authenticated, and the error goes to Express. Needs `algorithms`. Called for every token that looks
   * like one, forged ones too: cache the keys, bound how often an unknown `kid` is looked up, and return `undefined` for it (`jwks-rsa`:
   * `rateLimit: true`, and it throws `SigningKeyNotFoundError`).
   */
  readonly getKey?: (header: JwtHeader, req: Request) => VerifyKey | undefined | Promise<VerifyKey | undefined>
  /**
   * In place of tokens: finds the session of a request, such as one of express-session, Passport or another library for tokens.
   * Returns `{ user, tenant, expiresAt?, id?, issuedAt?, claims? }`; `undefined`: nobody is signed in (401, unless `optional`).
   * What it throws goes to Express, as does a session with a value of another type, and `ERR_SSE_CALLBACK_TIMEOUT` after 10 s. Whether other sites may cause requests is up to
   * the library that has the sessions. Options about tokens do not go with it; `tickets` and `revocations` do.
   */
  readonly resolve?: Resolve
  /**
   * The algorithms accepted: HS, RS, PS or ES with 256, 384 or 512, EdDSA, Ed25519 and Ed448. HS and the others exclude each
   * other, since a public key must not pass for a secret.
   * @defaultValue ['HS256'] with `secret`
   */
  readonly algorithms?: readonly JwtAlgorithm[]
  /** The `iss` a token must have, or one of several. Left out: not looked at. */
  readonly issuer?: string | readonly string[]
  /** The `aud` a token must have, or one of several. Left out: not looked at. */
  readonly audience?: string | readonly string[]
  /**
   * By how many seconds the clocks of issuer and server may differ: a token is good that long beyond its `exp` and before
   * its `nbf`. At most 60. @defaultValue 0
   */
  readonly clockToleranceS?: number
  /**
   * The claim that names the user: its name, a path with dots such as `firebase.tenant`, or a function of all claims. A claim whose
   * own name has dots comes before a path. Whole numbers become strings. @defaultValue 'sub'
   */
  readonly userClaim?: ClaimSource
  /** The claim that names the tenant, likewise. @defaultValue 'tenant' */
  readonly tenantClaim?: ClaimSource
  /** A longer token is refused unread, in bytes. @defaultValue 8192 */
  readonly maxTokenBytes?: number
  /**
   * The cookie that may hold the token. A cookie is refused (403) on requests that another site caused. `null`: cookies
   * are not read. @defaultValue null
   */
  readonly cookie?: string | null
  /**
   * The query parameter that may hold the token, on GET and HEAD, for clients that cannot set headers. URLs end up in
   * logs, so such tokens should be short-lived; a ticket is better. It is removed from `req.url`, `req.originalUrl` and
   * `req.query`, also if the token came in a header; what logs before that should log `redactUrl(req.url)`. `null`: never read.
   * @defaultValue 'token'
   */
  readonly query?: string | null
  /**
   * The store of `tickets()`: GET requests may bring a ticket in `?ticket=`, which is then used up, whatever comes of it, and
   * gone from the URL. It counts before the token in the query. A HEAD cannot have one. @defaultValue none
   */
  readonly tickets?: KeyValueStore
  /** Refuses tokens, and tickets made with tokens, that have been revoked; see `createRevocations`. @defaultValue none */
  readonly revocations?: Pick<Revocations, 'isRevoked'>
  /**
   * Called for each request whose token or ticket is not genuine (401), such as `rateLimit({ by: 'ip', … })`: it passes the 401 on or
   * answers instead, with 429. After a 429 tickets from that address are passed to it before they are looked up in the
   * store, until its `Retry-After` is over. Good tokens are never passed to it. @defaultValue none
   */
  readonly failureLimit?: RequestHandler
  /**
   * What happens where the revocations cannot be read. `closed`: 503, no one is authenticated. `open`: revoked tokens are taken
   * meanwhile. @defaultValue 'closed'
   */
  readonly onRevocationError?: 'open' | 'closed'
  /** Origins, such as `https://app.example`, whose pages may use the cookie although they are another site. */
  readonly allowedOrigins?: readonly string[]
  /** `true`: a request without a token goes on, without `req.auth`. A bad token is a 401 still. @defaultValue false */
  readonly optional?: boolean
  /** For tests. @defaultValue the process's clock */
  readonly clock?: Clock
}

/** Without meaning for sessions. */
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
