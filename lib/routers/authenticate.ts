/**
 * request ─► token source ─► verify, redeem, or `resolve` ─► not revoked ─► **`req.auth`**: the middleware that finds out who a request
 * comes from. Owns the answers; where tokens come from and which are good is decided in the files beside it.
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
import { tokenRevoked } from '../auth/revocations.js'
import { type Resolve, toAuth } from '../auth/sessions.js'
import { pathOf, redeemTicket, ticketInvalid } from '../auth/tickets.js'
import { tokenMissing } from '../auth/token-missing.js'
import { type FoundToken, findToken, type SourceRules, secretParameters } from '../auth/token-sources.js'
import { addSecretParameter, stripParameter } from '../auth/url-secrets.js'
import { readHeader, toKeyObject, type VerifyKey, type VerifyRules, verifyToken } from '../auth/verify.js'
import type { Auth } from '../core/auth.js'
import { CALLBACK_TIMEOUT_MS, failing, invalidResult, settle } from '../core/callbacks.js'
import type { Clock } from '../core/clock.js'
import { diagnostics } from '../core/diagnostics.js'
import { InvalidOptionError, RequestError } from '../core/errors.js'
import { systemClock } from '../core/system-clock.js'
import { oneOf } from '../core/validation.js'
import { isAuth, markAuthenticated } from '../http/auth-of.js'
import { sendProblem } from '../http/problem.js'
import { boundedStore } from '../store/bounded.js'
import type { KeyValueStore } from '../store/store.js'

declare global {
  namespace Express {
    interface Request {
      /** Who the request comes from, once `authenticate()` has run. `undefined`: nobody is signed in. */
      auth?: Auth | undefined
    }
  }
}

/** Who a request comes from; `undefined`: nobody. */
type Identity = Auth | undefined | Promise<Auth | undefined>

/**
 * Answers 401 with a problem document unless the request brings a good JSON Web Token: in `Authorization: Bearer`, else
 * in the query, as a ticket or itself, else in the cookie. The first one found counts. With `resolve` the application itself says who
 * is signed in.
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
    const fail = failing(next, 'authenticate')
    const refuse = (error: unknown): void => {
      if (!(error instanceof RequestError)) fail(error)
      else if (failures === undefined) sendProblem(res, error)
      else failures.count(req, res, error).then(() => sendProblem(res, error), fail)
    }
    const accept = (auth: Auth | undefined): void => {
      if (auth === undefined && !optional) {
        refuse(tokenMissing(missing))
        return
      }
      // Nobody's too, and in place of another library's: what follows can rely on it. What another authenticate() found stays.
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
    // Not `async`: Express 4 takes no care of a rejected promise.
    if (identity instanceof Promise) identity.then(accept, refuse)
    else accept(identity)
  }
}

/** Finds the token, and removes from the URL whatever may be one: it must not travel on in a Referer, nor be logged. */
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
    const session = await asServer('resolve', clock, () => resolve(req))
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
    const key = await asServer<VerifyKey | undefined>('getKey', rules.clock, () => getKey(header, req))
    return verifyToken(token, key === undefined ? [] : [toKeyObject(key, symmetric)], rules)
  }
}

type Redeemer = (ticket: string, req: Request, res: Response) => Promise<Auth>

/** The path is the whole one that the client asked for, wherever this is mounted. */
function redeemer(store: KeyValueStore, failures: FailureLimit | undefined, clock: Clock): Redeemer {
  return async (ticket, req, res) => {
    // Guesses of one address must not cost a look-up each. If the limit has answered, this error is not sent.
    if (failures?.isRefused(req) && !(await failures.admit(req, res))) throw ticketInvalid()
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
    throw new InvalidOptionError('revocations must be what createRevocations() gives')
  }
  // May be of the application's own making.
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

/** Reports what a store failed with; the caller of the API learns only that it did. */
function unavailable(operation: string, error: unknown): RequestError {
  if (diagnostics.storeError.hasSubscribers) diagnostics.storeError.publish({ operation, error })
  return new RequestError('ERR_SSE_BROKER_UNAVAILABLE', 'Authentication is temporarily unavailable', {
    cause: error,
    headers: { 'Retry-After': '1' },
  })
}

/** An error of the application's function is the server's, even if it is one of the kit's request errors. */
async function asServer<T>(option: string, clock: Clock, call: () => T | Promise<T>): Promise<T> {
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
