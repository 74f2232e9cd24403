import { RequestError } from '../core/errors.js'

/** The answer to a request without a user: 401, and how to sign in (RFC 6750, 3). */
export function tokenMissing(message = 'The request has no token'): RequestError {
  return new RequestError('ERR_SSE_TOKEN_MISSING', message, {
    headers: { 'WWW-Authenticate': 'Bearer' },
  })
}

/** The answer to a token or session whose time is over (RFC 6750, 3.1). */
export function tokenExpired(message = 'The token has expired'): RequestError {
  return new RequestError('ERR_SSE_TOKEN_EXPIRED', message, {
    headers: { 'WWW-Authenticate': 'Bearer error="invalid_token"' },
  })
}
