/**
 * request ─► token source ─► verify, or redeem ─► not revoked ─► **`req.auth`**: the middleware that says who asks. Owns
 * the answers; where tokens come from and what makes them good is decided in the files beside it.
 */
import type { KeyObject } from 'node:crypto'
import type { NextFunction, Request, RequestHandler, Response } from 'express'
import { diagnostics } from '../core/diagnostics.js'
import { InvalidOptionError, RequestError } from '../core/errors.js'
import type { Auth, Clock, KeyValueStore } from '../core/ports.js'
import { sendProblem } from '../wire/problem.js'
import { type AuthenticateOptions, isSymmetric, sourceRules, verifyRules } from './options.js'
import { pathOf, redeemTicket, ticketInvalid } from './tickets.js'
import { tokenMissing } from './token-missing.js'
import { type FoundToken, findToken } from './token-sources.js'
import { stripParameter } from './url-secrets.js'
import { type JwtHeader, readHeader, toKeyObject, type VerifyKey, type VerifyRules, verifyToken } from './verify.js'

declare global {
  namespace Express {
    interface Request {
      /** Who the request comes from, once `authenticate()` has seen a good token. */
      auth?: Auth
    }
  }
}

/**
 * Answers 401 with a problem document unless the request brings a good JSON Web Token: in `Authorization: Bearer`, else
 * in the query, as a ticket or itself, else in the cookie. The first one found counts.
 * @throws InvalidOptionError
 */
export function authenticate(options: AuthenticateOptions): RequestHandler {
  const { optional = false } = options
  const rules = verifyRules(options)
  const sources = sourceRules(options)
  const verify = verifier(options, rules)
  const { tickets } = options
  const unlessRevoked = revocationCheck(options)

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
      if ('parameter' in found) {
        // The URL holds the token: it must not travel on in the Referer of whatever the answer links to, nor be logged.
        res.setHeader('Referrer-Policy', 'no-referrer')
        stripParameter(req, found.parameter)
      }
      auth =
        found.source === 'ticket' && tickets !== undefined
          ? redeem(tickets, found.token, req, rules.clock)
          : verify(found.token, req)
      if (unlessRevoked !== undefined) auth = unlessRevoked(auth, found)
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

/** The path is the whole one that the client asked for, wherever this is mounted. */
async function redeem(store: KeyValueStore, ticket: string, req: Request, clock: Clock): Promise<Auth> {
  try {
    return await redeemTicket(store, ticket, pathOf(req.originalUrl), clock)
  } catch (error) {
    if (error instanceof RequestError) throw error
    throw unavailable('redeem a ticket', error)
  }
}

type RevocationCheck = (auth: Auth | Promise<Auth>, found: FoundToken) => Promise<Auth>

function revocationCheck({
  revocations,
  onRevocationError = 'closed',
}: AuthenticateOptions): RevocationCheck | undefined {
  if (onRevocationError !== 'open' && onRevocationError !== 'closed') {
    throw new InvalidOptionError('onRevocationError must be open or closed')
  }
  if (revocations === undefined) return undefined
  if (typeof revocations?.isRevoked !== 'function') {
    throw new InvalidOptionError('revocations must be what createRevocations() gives')
  }
  return async (pending, { source }) => {
    const auth = await pending
    const revoked = await revocations.isRevoked(auth).catch((error: unknown) => {
      const failure = unavailable('look up revocations', error)
      if (onRevocationError === 'closed') throw failure
      return false
    })
    if (!revoked) return auth
    throw source === 'ticket' ? ticketInvalid() : tokenRevoked()
  }
}

function tokenRevoked(): RequestError {
  return new RequestError('ERR_SSE_TOKEN_REVOKED', 'The token has been revoked', {
    headers: { 'WWW-Authenticate': 'Bearer error="invalid_token"' },
  })
}

/** Reports what a store failed with; the caller of the API learns only that it did. */
function unavailable(operation: string, error: unknown): RequestError {
  if (diagnostics.storeError.hasSubscribers) diagnostics.storeError.publish({ operation, error })
  return new RequestError('ERR_SSE_BROKER_UNAVAILABLE', 'Who asks cannot be found out now', {
    cause: error,
    headers: { 'Retry-After': '1' },
  })
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

function secretKeys(secret: AuthenticateOptions['secret']): readonly KeyObject[] {
  const secrets = Array.isArray(secret) ? (secret as readonly (string | Buffer)[]) : [secret as string | Buffer]
  if (secrets.length === 0) throw new InvalidOptionError('secret must not be an empty list')
  return secrets.map((each) => toKeyObject(each, true))
}
