/**
 * request ─► token source ─► verify ─► **`req.auth`**: the middleware that says who asks. Owns the options and the
 * answers; where tokens come from and what makes them good is decided in the files beside it.
 */
import type { KeyObject } from 'node:crypto'
import type { NextFunction, Request, RequestHandler, Response } from 'express'
import { systemClock } from '../core/clock.js'
import { InvalidOptionError, RequestError } from '../core/errors.js'
import { wholeNumber } from '../core/options.js'
import type { Auth, Clock } from '../core/ports.js'
import { sendProblem } from '../wire/problem.js'
import { tokenMissing } from './token-missing.js'
import { findToken, parseUrl, type SourceRules } from './token-sources.js'
import {
  type JwtAlgorithm,
  type JwtHeader,
  readHeader,
  toKeyObject,
  type VerifyKey,
  type VerifyRules,
  verifyToken,
} from './verify.js'

declare global {
  namespace Express {
    interface Request {
      /** Who the request comes from, once `authenticate()` has seen a good token. */
      auth?: Auth
    }
  }
}

export interface AuthenticateOptions {
  /**
   * The secret of tokens signed with HS algorithms, at least 32 bytes. Several: any of them may have signed, so that a
   * secret can be replaced while tokens of the old one live. Either this or `getKey`.
   */
  readonly secret?: string | Buffer | readonly (string | Buffer)[]
  /**
   * Finds the key for a token, by the `kid` of its header as a rule. `undefined` for a key that is not known: 401. If it
   * throws or rejects, no one can be authenticated, and the error goes to Express. Needs `algorithms`.
   */
  readonly getKey?: (header: JwtHeader, req: Request) => VerifyKey | undefined | Promise<VerifyKey | undefined>
  /**
   * The algorithms accepted. HS and the others exclude each other, since a public key must not pass for a secret.
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
  /** The claim that names the user. @defaultValue 'sub' */
  readonly userClaim?: string
  /** The claim that names the tenant. @defaultValue 'tenant' */
  readonly tenantClaim?: string
  /** A longer token is refused unread, in bytes. @defaultValue 8192 */
  readonly maxTokenBytes?: number
  /**
   * The cookie that may hold the token. A cookie is refused (403) on requests that another site caused. `null`: cookies
   * are not read. @defaultValue null
   */
  readonly cookie?: string | null
  /**
   * The query parameter that may hold the token, on GET and HEAD, for clients that cannot set headers. URLs end up in
   * logs, so such tokens should be short-lived. `null`: never read. @defaultValue 'token'
   */
  readonly query?: string | null
  /** Origins, such as `https://app.example`, whose pages may use the cookie although they are another site. */
  readonly allowedOrigins?: readonly string[]
  /** `true`: a request without a token goes on, without `req.auth`. A bad token is a 401 still. @defaultValue false */
  readonly optional?: boolean
  /** @defaultValue the process's clock */
  readonly clock?: Clock
}

/**
 * Answers 401 with a problem document unless the request brings a good JSON Web Token: in `Authorization: Bearer`, else
 * in the query, else in the cookie. The first one found counts.
 * @throws InvalidOptionError
 */
export function authenticate(options: AuthenticateOptions): RequestHandler {
  const { optional = false } = options
  const rules = verifyRules(options)
  const sources = sourceRules(options)
  const verify = verifier(options, rules)

  return function authenticated(req: Request, res: Response, next: NextFunction): void {
    const refuse = (error: unknown): void => {
      if (error instanceof RequestError) sendProblem(res, error)
      else next(error)
    }
    const accept = (auth: Auth): void => {
      req.auth = auth
      next()
    }
    let auth: Auth | Promise<Auth>
    try {
      const found = findToken(req, sources)
      if (found === undefined) {
        if (optional) next()
        else refuse(tokenMissing())
        return
      }
      // The URL holds the token: it must not travel on in the Referer of whatever the answer links to.
      if (found.source === 'query') res.setHeader('Referrer-Policy', 'no-referrer')
      auth = verify(found.token, req)
    } catch (error) {
      refuse(error)
      return
    }
    // Not `async`: Express 4 takes no care of a rejected promise.
    if (auth instanceof Promise) auth.then(accept, refuse)
    else accept(auth)
  }
}

type Verifier = (token: string, req: Request) => Auth | Promise<Auth>

function verifier({ secret, getKey }: AuthenticateOptions, rules: VerifyRules): Verifier {
  const symmetric = rules.algorithms.every(isSymmetric)
  if (getKey === undefined) {
    const keys = secretKeys(secret)
    return (token) => {
      readHeader(token, rules)
      return verifyToken(token, keys, rules)
    }
  }
  return async (token, req) => {
    const header = readHeader(token, rules)
    const key = await foundKey(getKey, header, req)
    return verifyToken(token, key === undefined ? [] : [toKeyObject(key, symmetric)], rules)
  }
}

/** An error of `getKey` is the server's, even if it is one of the kit's request errors. */
async function foundKey(
  getKey: NonNullable<AuthenticateOptions['getKey']>,
  header: JwtHeader,
  req: Request,
): Promise<VerifyKey | undefined> {
  try {
    return await getKey(header, req)
  } catch (cause) {
    if (cause instanceof Error && !(cause instanceof RequestError)) throw cause
    throw new Error('getKey failed', { cause })
  }
}

function verifyRules(options: AuthenticateOptions): VerifyRules {
  const { secret, getKey, issuer, audience } = options
  if ((secret === undefined) === (getKey === undefined)) {
    throw new InvalidOptionError('authenticate() needs either secret or getKey')
  }
  if (getKey !== undefined && typeof getKey !== 'function') throw new InvalidOptionError('getKey must be a function')
  return {
    algorithms: acceptedAlgorithms(options),
    issuer: issuer === undefined ? undefined : oneOrMoreStrings('issuer', issuer),
    audience: audience === undefined ? undefined : oneOrMoreStrings('audience', audience),
    clockToleranceS: wholeNumber('clockToleranceS', options.clockToleranceS ?? 0, 0, 60),
    userClaim: claimName('userClaim', options.userClaim ?? 'sub'),
    tenantClaim: claimName('tenantClaim', options.tenantClaim ?? 'tenant'),
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
    if (typeof algorithm === 'string' && /^(HS|RS|PS|ES)(256|384|512)$/.test(algorithm)) continue
    throw new InvalidOptionError(
      `algorithms must be of HS, RS, PS or ES with 256, 384 or 512, got ${String(algorithm)}`,
    )
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

function isSymmetric(algorithm: JwtAlgorithm): boolean {
  return algorithm.startsWith('HS')
}

function secretKeys(secret: AuthenticateOptions['secret']): readonly KeyObject[] {
  const secrets = Array.isArray(secret) ? (secret as readonly (string | Buffer)[]) : [secret as string | Buffer]
  if (secrets.length === 0) throw new InvalidOptionError('secret must not be an empty list')
  return secrets.map((each) => toKeyObject(each, true))
}

function sourceRules({ cookie = null, query = 'token', allowedOrigins = [] }: AuthenticateOptions): SourceRules {
  // RFC 6265, 4.1.1: a cookie's name is a token.
  if (cookie !== null && !/^[\w!#$%&'*+.^`|~-]+$/.test(cookie)) {
    throw new InvalidOptionError('cookie must be the name of a cookie, or null')
  }
  if (query !== null && (typeof query !== 'string' || query === '')) {
    throw new InvalidOptionError('query must be the name of a parameter, or null')
  }
  for (const origin of allowedOrigins) {
    if (typeof origin === 'string' && parseUrl(origin)?.origin === origin) continue
    throw new InvalidOptionError(`allowedOrigins must be origins such as https://app.example, got ${String(origin)}`)
  }
  return { cookie: cookie ?? undefined, query: query ?? undefined, allowedOrigins: new Set(allowedOrigins) }
}

function oneOrMoreStrings(name: string, value: string | readonly string[]): readonly string[] {
  const values: readonly unknown[] = typeof value === 'string' ? [value] : value
  if (Array.isArray(values) && values.length > 0 && values.every((each) => typeof each === 'string' && each !== '')) {
    return [...(values as readonly string[])]
  }
  throw new InvalidOptionError(`${name} must be a non-empty string or several`)
}

function claimName(name: string, claim: string): string {
  if (typeof claim === 'string' && claim !== '') return claim
  throw new InvalidOptionError(`${name} must be the name of a claim`)
}
