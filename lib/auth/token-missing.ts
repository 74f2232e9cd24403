import { RequestError } from '../core/errors.js'

/** The answer to a request that nobody is known for: 401, and how to sign in (RFC 6750, 3). */
export function tokenMissing(): RequestError {
  return new RequestError('ERR_SSE_TOKEN_MISSING', 'The request has no token', {
    headers: { 'WWW-Authenticate': 'Bearer' },
  })
}
