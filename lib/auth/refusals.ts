/** The 401 responses of authentication: missing, expired and revoked tokens, and invalid tickets. */
import { RequestError } from '../core/errors.js'

/** RFC 6750, 3.1 */
export const INVALID_TOKEN = Object.freeze({ 'WWW-Authenticate': 'Bearer error="invalid_token"' })

/** A request without a user. The response names the scheme to sign in with (RFC 6750, 3). */
export function tokenMissing(message = 'The request has no token'): RequestError {
  return new RequestError('ERR_SSE_TOKEN_MISSING', message, { headers: { 'WWW-Authenticate': 'Bearer' } })
}

/** An expired token or session. */
export function tokenExpired(message = 'The token has expired'): RequestError {
  return new RequestError('ERR_SSE_TOKEN_EXPIRED', message, { headers: INVALID_TOKEN })
}

/** A revoked token, session or ticket. */
export function tokenRevoked(): RequestError {
  return new RequestError('ERR_SSE_TOKEN_REVOKED', 'The token or session has been revoked', { headers: INVALID_TOKEN })
}

/** One response for every defect of a ticket: the reason must not reach a client that the ticket was not issued to. */
export function ticketInvalid(): RequestError {
  const message = 'The ticket is not valid for this request. Request a new ticket.'
  return new RequestError('ERR_SSE_TICKET_INVALID', message, { headers: INVALID_TOKEN })
}
