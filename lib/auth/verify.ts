/**
 * request ─► token source ─► **verify** ─► `req.auth`: whether a token is genuine, current and complete. Knows nothing
 * of HTTP. No message carries the token or a part of it.
 */
import { createPublicKey, createSecretKey, KeyObject } from 'node:crypto'
import jsonwebtoken from 'jsonwebtoken'
import { InvalidOptionError, RequestError } from '../core/errors.js'
import type { Auth, Clock } from '../core/ports.js'

/** An algorithm of JSON Web Signatures (RFC 7518, 3.1) that the kit accepts; `none` is not one of them. */
export type JwtAlgorithm =
  | 'HS256'
  | 'HS384'
  | 'HS512'
  | 'RS256'
  | 'RS384'
  | 'RS512'
  | 'PS256'
  | 'PS384'
  | 'PS512'
  | 'ES256'
  | 'ES384'
  | 'ES512'

/** What a token says of itself. Unverified: good for choosing a key, for nothing else. */
export interface JwtHeader {
  readonly alg: JwtAlgorithm
  readonly kid?: string
  readonly [field: string]: unknown
}

/** A secret of at least 32 bytes for HS algorithms; a public key (PEM text or KeyObject) for the others. */
export type VerifyKey = string | Buffer | KeyObject

/** What a token must satisfy; options after resolution. */
export interface VerifyRules {
  readonly algorithms: readonly JwtAlgorithm[]
  readonly issuer: string | readonly string[] | undefined
  readonly audience: string | readonly string[] | undefined
  readonly clockToleranceS: number
  readonly userClaim: string
  readonly tenantClaim: string
  readonly maxTokenBytes: number
  readonly clock: Clock
}

const MIN_SECRET_BYTES = 32
const MAX_NAME_LENGTH = 256
const COMPACT_JWS = /^([\w-]+)\.[\w-]+\.[\w-]+$/

/**
 * Reads the header of a token, so that its key can be chosen. Whatever would reach `getKey` is checked before.
 * @throws RequestError `ERR_SSE_TOKEN_INVALID`
 */
export function readHeader(token: string, { algorithms, maxTokenBytes }: VerifyRules): JwtHeader {
  if (Buffer.byteLength(token) > maxTokenBytes) throw invalid('The token is too long')
  const encoded = COMPACT_JWS.exec(token)?.[1]
  if (encoded === undefined) throw invalid('The token is not a signed JSON Web Token')
  const header = parseObject(Buffer.from(encoded, 'base64url').toString())
  if (header === undefined) throw invalid('The header of the token is not a JSON object')
  const { alg, kid, crit } = header
  const algorithm = algorithms.find((accepted) => accepted === alg)
  if (algorithm === undefined) throw invalid('The algorithm of the token is not accepted')
  // RFC 7515, 4.1.11: an extension that must be understood, and none is.
  if (crit !== undefined) throw invalid('The token needs an extension that is not supported')
  if (kid === undefined) return { ...header, alg: algorithm }
  if (typeof kid !== 'string' || kid.length > MAX_NAME_LENGTH) throw invalid('The kid of the token is not valid')
  return { ...header, alg: algorithm, kid }
}

/**
 * Checks the signature against each key, the claims against the rules, the expiry against the clock, in this order.
 * @throws RequestError `ERR_SSE_TOKEN_INVALID`, `ERR_SSE_TOKEN_CLAIMS`, `ERR_SSE_TOKEN_EXPIRED`
 */
export function verifyToken(token: string, keys: readonly KeyObject[], rules: VerifyRules): Auth {
  const claims = verifiedClaims(token, keys, rules)
  const { exp } = claims
  if (typeof exp !== 'number' || !(exp > 0 && exp * 1000 <= Number.MAX_SAFE_INTEGER)) {
    throw incomplete('The token has no valid exp')
  }
  const auth: Auth = {
    user: nameClaim(claims, rules.userClaim),
    tenant: nameClaim(claims, rules.tenantClaim),
    expiresAt: (exp + rules.clockToleranceS) * 1000,
    claims,
  }
  if (rules.clock.wallTime() >= auth.expiresAt) {
    throw new RequestError('ERR_SSE_TOKEN_EXPIRED', 'The token has expired', { headers: INVALID_TOKEN })
  }
  return auth
}

/**
 * A key as the algorithms need it. A public key never becomes an HS secret, or anyone who knows it could sign.
 * @throws InvalidOptionError, or what node:crypto throws for a key that is none
 */
export function toKeyObject(key: VerifyKey, symmetric: boolean): KeyObject {
  if (!symmetric) return key instanceof KeyObject && key.type === 'public' ? key : createPublicKey(asKeyInput(key))
  const secret = key instanceof KeyObject ? key : createSecretKey(secretBytes(key))
  if (secret.type !== 'secret' || (secret.symmetricKeySize ?? 0) < MIN_SECRET_BYTES) {
    throw new InvalidOptionError(
      `A secret for HS algorithms must have at least ${MIN_SECRET_BYTES} bytes (RFC 7518, 3.2)`,
    )
  }
  return secret
}

function secretBytes(secret: string | Buffer): Buffer {
  if (typeof secret !== 'string' && !Buffer.isBuffer(secret)) {
    throw new InvalidOptionError('A secret must be a string, a Buffer or a KeyObject')
  }
  if (secret.includes('-----BEGIN ')) {
    throw new InvalidOptionError('A secret must not be a PEM key: give public keys through getKey')
  }
  return typeof secret === 'string' ? Buffer.from(secret) : secret
}

function asKeyInput(key: VerifyKey): Parameters<typeof createPublicKey>[0] {
  if (key instanceof KeyObject && key.type === 'secret') {
    throw new InvalidOptionError('getKey gave a secret, but the algorithms need a public key')
  }
  return key
}

function verifiedClaims(token: string, keys: readonly KeyObject[], rules: VerifyRules): Record<string, unknown> {
  const options: jsonwebtoken.VerifyOptions = {
    algorithms: [...rules.algorithms],
    clockTimestamp: rules.clock.wallTime() / 1000,
    clockTolerance: rules.clockToleranceS,
    // Done by the caller, who tells a missing exp from one that has passed.
    ignoreExpiration: true,
    ...(rules.issuer === undefined ? {} : { issuer: oneOrMore(rules.issuer) }),
    ...(rules.audience === undefined ? {} : { audience: oneOrMore(rules.audience) }),
  }
  let cause: unknown
  for (const key of keys) {
    try {
      const claims: unknown = jsonwebtoken.verify(token, key, options)
      if (isObject(claims)) return claims
    } catch (error) {
      // Whatever it is, the token caused it: the keys and the options were checked before.
      cause = error
    }
  }
  throw invalid('The signature, issuer, audience or nbf of the token is not valid', cause)
}

/** A mutable copy in the form jsonwebtoken's types ask for. */
function oneOrMore(value: string | readonly string[]): [string, ...string[]] {
  return (typeof value === 'string' ? [value] : [...value]) as [string, ...string[]]
}

function nameClaim(claims: Record<string, unknown>, name: string): string {
  const value = Object.hasOwn(claims, name) ? claims[name] : undefined
  if (typeof value === 'string' && value !== '' && value.length <= MAX_NAME_LENGTH && value.isWellFormed()) return value
  throw incomplete(`The claim ${name} of the token must be a string of 1 to ${MAX_NAME_LENGTH} characters`)
}

/** RFC 6750, 3.1 */
const INVALID_TOKEN = Object.freeze({ 'WWW-Authenticate': 'Bearer error="invalid_token"' })

function invalid(message: string, cause?: unknown): RequestError {
  return new RequestError('ERR_SSE_TOKEN_INVALID', message, { cause, headers: INVALID_TOKEN })
}

function incomplete(message: string): RequestError {
  return new RequestError('ERR_SSE_TOKEN_CLAIMS', message, { headers: INVALID_TOKEN })
}

function parseObject(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return isObject(value) ? value : undefined
  } catch {
    // Not JSON; the caller answers that.
    return undefined
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return value !== null && typeof value === 'object' && !Array.isArray(value)
}
