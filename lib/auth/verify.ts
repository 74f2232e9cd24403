/**
 * request ─► token source ─► **verify** ─► `req.auth`: whether a token is genuine, current and complete. Must not know
 * HTTP. No error message contains the token or a part of it.
 */
import { createPublicKey, createSecretKey, KeyObject, verify as verifySignature } from 'node:crypto'
import jsonwebtoken from 'jsonwebtoken'
import type { Auth } from '../core/auth.js'
import type { Clock } from '../core/clock.js'
import { InvalidOptionError, RequestError } from '../core/errors.js'
import { type ClaimSource, isObject, nameClaim } from './claims.js'
import { INVALID_TOKEN, tokenExpired } from './refusals.js'

/** The algorithms of JSON Web Signatures that the kit verifies (RFC 7518, 3.1; RFC 8037; RFC 9864). Never `none`. */
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
  | 'EdDSA'
  | 'Ed25519'
  | 'Ed448'

/** A record instead of a list, so that TypeScript reports a missing algorithm. */
const ALGORITHMS: Readonly<Record<JwtAlgorithm, true>> = {
  HS256: true,
  HS384: true,
  HS512: true,
  RS256: true,
  RS384: true,
  RS512: true,
  PS256: true,
  PS384: true,
  PS512: true,
  ES256: true,
  ES384: true,
  ES512: true,
  EdDSA: true,
  Ed25519: true,
  Ed448: true,
}

export const JWT_ALGORITHMS = Object.keys(ALGORITHMS) as readonly JwtAlgorithm[]

/** The header of a token (RFC 7515, 4). Not verified: use it only to choose a key. */
export interface JwtHeader {
  /** The signature algorithm; one of `algorithms`. */
  readonly alg: JwtAlgorithm
  /** The id of the key, at most 256 characters. */
  readonly kid?: string
  /** Any other header parameter. */
  readonly [field: string]: unknown
}

/**
 * The key that verifies a token: for HS algorithms a secret of at least 32 bytes, otherwise a public key (PEM or
 * KeyObject).
 */
export type VerifyKey = string | Buffer | KeyObject

/** What a token must satisfy: the resolved options. */
export interface VerifyRules {
  readonly algorithms: readonly JwtAlgorithm[]
  readonly issuer: readonly string[] | undefined
  readonly audience: readonly string[] | undefined
  readonly clockToleranceS: number
  readonly userClaim: ClaimSource
  readonly tenantClaim: ClaimSource
  readonly maxTokenBytes: number
  readonly clock: Clock
}

const MIN_SECRET_BYTES = 32
const MAX_KID_LENGTH = 256
/** The end of the year 9999. A larger value is in ms by mistake; such a token would never expire. */
const MAX_EXP_S = 253_402_300_799
const COMPACT_JWS = /^([\w-]+)\.[\w-]+\.[\w-]+$/

/**
 * Reads the header of a token, so that its key can be chosen. Checks everything that `getKey` receives.
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
  // RFC 7515, 4.1.11: `crit` lists extensions that must be understood. None is.
  if (crit !== undefined) throw invalid('The token requires an extension (crit) that is not supported')
  if (kid === undefined) return { ...header, alg: algorithm }
  if (typeof kid !== 'string' || kid.length > MAX_KID_LENGTH) throw invalid('The kid of the token is not valid')
  return { ...header, alg: algorithm, kid }
}

/**
 * Checks the signature with each key, then the claims against the rules, then the expiry.
 * @throws RequestError `ERR_SSE_TOKEN_INVALID`, `ERR_SSE_TOKEN_CLAIMS`, `ERR_SSE_TOKEN_EXPIRED`
 */
export function verifyToken(token: string, keys: readonly KeyObject[], rules: VerifyRules): Auth {
  const claims = verifiedClaims(token, keys, rules)
  assertAddressed(claims, rules)
  const { exp } = claims
  if (typeof exp !== 'number' || !(exp > 0 && exp <= MAX_EXP_S)) {
    throw incomplete('The token has no valid exp')
  }
  const auth: Auth = {
    user: requiredName('userClaim', claims, rules.userClaim),
    tenant: requiredName('tenantClaim', claims, rules.tenantClaim),
    expiresAt: (exp + rules.clockToleranceS) * 1000,
    claims,
  }
  if (rules.clock.wallTime() >= auth.expiresAt) {
    throw tokenExpired()
  }
  return auth
}

/**
 * Converts a key for the algorithms. A public key is never used as an HS secret, otherwise everyone who knows it could
 * sign tokens.
 * @throws InvalidOptionError
 * @throws Error of node:crypto if the key cannot be parsed
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
    throw new InvalidOptionError('A secret must not be a PEM key: return public keys from getKey')
  }
  return typeof secret === 'string' ? Buffer.from(secret) : secret
}

function asKeyInput(key: VerifyKey): Parameters<typeof createPublicKey>[0] {
  if (key instanceof KeyObject && key.type === 'secret') {
    throw new InvalidOptionError('getKey returned a secret, but the algorithms need a public key')
  }
  return key
}

function verifiedClaims(
  token: string,
  keys: readonly KeyObject[],
  { algorithms }: VerifyRules,
): Record<string, unknown> {
  let cause: unknown
  for (const key of keys) {
    try {
      const claims = key.asymmetricKeyType?.startsWith('ed')
        ? edwardsClaims(token, key, algorithms)
        : jsonwebtoken.verify(token, key, {
            algorithms: algorithms.filter((algorithm) => !isEdwards(algorithm)) as jsonwebtoken.Algorithm[],
            // The caller checks both, for all algorithms alike.
            ignoreExpiration: true,
            ignoreNotBefore: true,
          })
      if (isObject(claims)) return claims
    } catch (error) {
      // Caused by the token in any case: the keys and the options were checked before.
      cause = error
    }
  }
  throw invalid('The signature, issuer, audience or nbf of the token is not valid', cause)
}

function isEdwards(algorithm: JwtAlgorithm): boolean {
  return algorithm.startsWith('Ed')
}

/** `jsonwebtoken` does not verify EdDSA (RFC 8037, 3.1). @throws Error if the signature is not valid */
function edwardsClaims(token: string, key: KeyObject, algorithms: readonly JwtAlgorithm[]): unknown {
  const [header = '', payload = '', signature = ''] = token.split('.')
  const { alg } = parseObject(Buffer.from(header, 'base64url').toString()) ?? {}
  const fits = alg === 'EdDSA' || (typeof alg === 'string' && alg.toLowerCase() === key.asymmetricKeyType)
  if (!fits || !algorithms.includes(alg as JwtAlgorithm)) throw new Error('The algorithm does not fit the key')
  const isGenuine = verifySignature(null, Buffer.from(`${header}.${payload}`), key, Buffer.from(signature, 'base64url'))
  if (!isGenuine) throw new Error('The signature is not valid')
  return parseObject(Buffer.from(payload, 'base64url').toString())
}

/** Checks the issuer, the audience and `nbf` (RFC 7519, 4.1). @throws RequestError */
function assertAddressed({ iss, aud, nbf }: Record<string, unknown>, rules: VerifyRules): void {
  const { issuer, audience } = rules
  const audiences: readonly unknown[] = Array.isArray(aud) ? aud : [aud]
  const isFrom = issuer === undefined || (typeof iss === 'string' && issuer.includes(iss))
  const isFor = audience === undefined || audiences.some((each) => typeof each === 'string' && audience.includes(each))
  const latestNbf = rules.clock.wallTime() / 1000 + rules.clockToleranceS
  const isUsable = nbf === undefined || (typeof nbf === 'number' && nbf <= latestNbf)
  if (!isFrom || !isFor || !isUsable) throw invalid('The signature, issuer, audience or nbf of the token is not valid')
}

function requiredName(
  option: 'userClaim' | 'tenantClaim',
  claims: Record<string, unknown>,
  source: ClaimSource,
): string {
  const name = nameClaim(option, claims, source)
  if (name !== undefined) return name
  const claim = typeof source === 'string' ? `The claim ${source} of the token` : `What ${option} returns`
  throw incomplete(`${claim} must be a string of 1 to 256 characters, or a whole number`)
}

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
    // Not JSON. The caller handles it.
    return undefined
  }
}
