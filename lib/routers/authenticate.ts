/**
 * request ─► token source ─► verify, redeem, or `resolve` ─► not revoked ─► **`req.auth`**: the middleware that
 * authenticates requests, and the one that requires it. Owns the responses. lib/auth owns where tokens are found and
 * which of them are valid.
 */
import type { KeyObject } from 'node:crypto'
import type { NextFunction, Request, RequestHandler, Response } from 'express'
import { FailureLimit } from '../auth/failure-limit.js'
import {
  type AuthenticateOptions,
  assertSessionOptions,
  isSymmetric,
  sourceRules,
  verifyRules,
} from '../auth/options.js'
import { ticketInvalid, tokenMissing, tokenRevoked } from '../auth/refusals.js'
import { type Resolve, toAuth } from '../auth/sessions.js'
import { pathOf, redeemTicket } from '../auth/tickets.js'
import { type FoundToken, findToken, type SourceRules, secretParameters } from '../auth/token-sources.js'
import { addSecretParameter, stripParameter } from '../auth/url-secrets.js'
import { readHeader, toKeyObject, type VerifyKey, type VerifyRules, verifyToken } from '../auth/verify.js'
import type { Auth } from '../core/auth.js'
import { CALLBACK_TIMEOUT_MS, failing, invalidResult, settle } from '../core/callbacks.js'
import type { Clock } from '../core/clock.js'
import { diagnostics, reportTo } from '../core/diagnostics.js'
import { InvalidOptionError, RequestError } from '../core/errors.js'
import { systemClock } from '../core/system-clock.js'
import { oneOf } from '../core/validation.js'
import { answerError } from '../http/answering.js'
import { authOf, isAuth, markAuthenticated } from '../http/auth-of.js'
import { boundedStore } from '../store/bounded.js'
import type { KeyValueStore } from '../store/store.js'

declare global {
  namespace Express {
    interface Request {
      /** The user of the request, set by `authenticate()`. `undefined`: nobody is signed in. */
      auth?: Auth | undefined
    }
  }
}

/** The user of a request; `undefined`: nobody is signed in. */
type Identity = Auth | undefined | Promise<Auth | undefined>

/**
 * Sets `req.auth`, or answers 401 with a problem document unless the request has a valid JSON Web Token: in
 * `Authorization: Bearer`, otherwise in the query (a ticket before a token), otherwise in the cookie. The first one
 * found counts. With `resolve`, a function of the application returns the user.
 * @throws InvalidOptionError
 */
export function authenticate(options: AuthenticateOptions): RequestHandler {
  const { optional = false, resolve, clock = systemClock, failureLimit } = options
  const verify = resolve === undefined ? verifier(options) : sessionFinder(options, clock)
  const sources = sourceRules(options)
  if (sources.query !== undefined) addSecretParameter(sources.query)
  const failures = failureLimit === undefined ? undefined : new FailureLimit(failureLimit, clock)
  const redeem = options.tickets && redeemer(boundedStore(options.tickets, clock), failures, clock)
  const unlessRevoked = revocationCheck(options)
  const missing = resolve === undefined ? 'The request has no token' : 'Nobody is signed in'

  return function authenticated(req: Request, res: Response, next: NextFunction): void {
    const respond = (error: unknown): void => answerError(error, req, res, next, RequestError)
    const refuse = (error: unknown): void => {
      if (failures === undefined) respond(error)
      else failures.count(req, res, error).then(() => respond(error), failing(next, 'failureLimit'))
    }
    const accept = (auth: Auth | undefined): void => {
      if (auth === undefined && !optional) {
        refuse(tokenMissing(missing))
        return
      }
      // Also if nobody is signed in: a value of another library must not stay. The user of an earlier authenticate()
      // stays.
      if (auth !== undefined || !isAuth(req.auth)) req.auth = auth
      markAuthenticated(req)
      next()
    }
    let identity: Identity
    try {
      const found = takeToken(req, res, sources)
      identity = found?.source === 'ticket' && redeem ? redeem(found.token, req, res) : verify(found?.token, req)
      if (unlessRevoked !== undefined && identity !== undefined) identity = unlessRevoked(identity, found)
    } catch (error) {
      refuse(error)
      return
    }
    // Not `async`, because Express 4 ignores rejected promises.
    if (identity instanceof Promise) identity.then(accept, refuse)
    else accept(identity)
  }
}

/**
 * Answers 401 unless `authenticate()` has set a user. Use it after `authenticate({ optional: true })`, so that limits
 * can run in between that differ for users who are signed in and those who are not.
 */
export function requireAuth(): RequestHandler {
  return (req, res, next) => {
    // An error of `authOf` goes to Express, as from every middleware that throws.
    if (authOf(req) === undefined) answerError(tokenMissing(), req, res, next)
    else next()
  }
}

/** Finds the token, and removes all parameters with secrets from the URL, so that no Referer or log contains them. */
function takeToken(req: Request, res: Response, sources: SourceRules): FoundToken | undefined {
  const parameters = secretParameters(req, sources)
  try {
    return findToken(req, sources)
  } finally {
    if (parameters.length > 0) res.setHeader('Referrer-Policy', 'no-referrer')
    for (const parameter of parameters) stripParameter(req, parameter)
  }
}

type Verifier = (token: string | undefined, req: Request) => Identity

function sessionFinder(options: AuthenticateOptions, clock: Clock): Verifier {
  assertSessionOptions(options)
  const resolve = options.resolve as Resolve
  return async (_, req) => {
    const session = await callApplication('resolve', clock, () => resolve(req))
    return session === undefined || session === null ? undefined : toAuth(session, clock)
  }
}

function verifier(options: AuthenticateOptions): Verifier {
  const rules = verifyRules(options)
  const verify = tokenVerifier(options, rules)
  return (token, req) => (token === undefined ? undefined : verify(token, req))
}

function tokenVerifier(
  { secret, getKey }: AuthenticateOptions,
  rules: VerifyRules,
): (token: string, req: Request) => Auth | Promise<Auth> {
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
    const key = await callApplication<VerifyKey | undefined>('getKey', rules.clock, () => getKey(header, req))
    return verifyToken(token, key === undefined ? [] : [toKeyObject(key, symmetric)], rules)
  }
}

type Redeemer = (ticket: string, req: Request, res: Response) => Promise<Auth>

/** A ticket is for the path that the client requested, independent of where this middleware is mounted. */
function redeemer(store: KeyValueStore, failures: FailureLimit | undefined, clock: Clock): Redeemer {
  return async (ticket, req, res) => {
    // An address that guesses tickets must not cause a lookup for each guess. If the limit answers, this error is not
    // sent.
    if (failures?.isBlocked(req) && !(await failures.admit(req, res))) throw ticketInvalid()
    try {
      return await redeemTicket(store, ticket, pathOf(req.originalUrl), clock)
    } catch (error) {
      if (error instanceof RequestError) throw error
      throw unavailable('redeem a ticket', error)
    }
  }
}

type RevocationCheck = (identity: Identity, found: FoundToken | undefined) => Promise<Auth | undefined>

function revocationCheck({
  revocations,
  onRevocationError = 'closed',
  clock = systemClock,
}: AuthenticateOptions): RevocationCheck | undefined {
  oneOf('onRevocationError', onRevocationError, ['open', 'closed'])
  if (revocations === undefined) return undefined
  if (typeof revocations?.isRevoked !== 'function') {
    throw new InvalidOptionError('revocations must be a value that createRevocations() returned')
  }
  // The application may pass its own implementation.
  const lookUp = async (auth: Auth): Promise<boolean> => {
    const call = (): Promise<boolean> => revocations.isRevoked(auth)
    const revoked = await settle('isRevoked', call, { clock, timeoutMs: CALLBACK_TIMEOUT_MS })
    if (typeof revoked !== 'boolean') throw invalidResult('isRevoked', 'must resolve to true or false')
    return revoked
  }
  return async (identity, found) => {
    const auth = await identity
    if (auth === undefined) return undefined
    const revoked = await lookUp(auth).catch((error: unknown) => {
      const failure = unavailable('look up revocations', error)
      if (onRevocationError === 'closed') throw failure
      return false
    })
    if (!revoked) return auth
    throw found?.source === 'ticket' ? ticketInvalid() : tokenRevoked()
  }
}

/** Reports the error of a store. The client gets only that authentication is unavailable. */
function unavailable(operation: string, error: unknown): RequestError {
  reportTo(diagnostics.storeError, operation, error)
  return new RequestError('ERR_SSE_BROKER_UNAVAILABLE', 'Authentication is temporarily unavailable', {
    cause: error,
    headers: { 'Retry-After': '1' },
  })
}

/**
 * An error of the application's function goes to `next`, even if it is a RequestError: it is not the client's fault.
 */
async function callApplication<T>(option: string, clock: Clock, call: () => T | Promise<T>): Promise<T> {
  try {
    return await settle(option, call, { clock, timeoutMs: CALLBACK_TIMEOUT_MS })
  } catch (error) {
    throw error instanceof RequestError ? new Error(`${option} failed`, { cause: error }) : error
  }
}

function secretKeys(secret: AuthenticateOptions['secret']): readonly KeyObject[] {
  const secrets = Array.isArray(secret) ? (secret as readonly (string | Buffer)[]) : [secret as string | Buffer]
  if (secrets.length === 0) throw new InvalidOptionError('secret must not be an empty list')
  return secrets.map((each) => toKeyObject(each, true))
}
