/** The HTTP requests of one stream. Owns their tokens, and which failures are retried. */
import { EventStreamError } from './error.js'
import type { ClientOptions } from './options.js'
import { retryAfterMs } from './retry-delay.js'

type Headers = Record<string, string>

/** A failure after which a retry may succeed, not earlier than after `afterMs`. */
export interface RetryableError extends Error {
  readonly afterMs?: number
}

export interface Requests {
  /** Requests a token and adds it to the URL, or returns it as a header. */
  authorize(url: URL, place?: ClientOptions['tokenIn']): Promise<Headers>
  /**
   * @param type the media type that the response must have. Without it, each 2xx response is accepted, otherwise only a
   * 200.
   * @throws RetryableError if a retry may succeed
   * @throws EventStreamError for other responses
   */
  send(url: URL, init: RequestInit, type?: string): Promise<Response>
  /** The token is no longer valid: the next request needs a new one. */
  expireToken(): void
}

/** Besides 5xx: statuses after which the same request may succeed. */
const RETRYABLE_STATUSES = [401, 408, 425, 429]

export function createRequests(options: ClientOptions): Requests {
  const { tokenIn = options.transport === 'native' ? 'token' : 'header', tokenRetryMs = 3000 } = options
  let refresh = false
  return {
    expireToken() {
      refresh = true
    },

    async authorize(url, place = tokenIn) {
      const isRefresh = refresh
      const token = await options.token?.(isRefresh, url.href)
      if (isRefresh) refresh = false
      if (token === undefined) return {}
      if (place === 'header') return { Authorization: `Bearer ${token}` }
      url.searchParams.set(place, token)
      return {}
    },

    async send(url, init, type) {
      const { fetch: send = fetch, credentials = 'same-origin' } = options
      const response = await send(url.href, { cache: 'no-store', credentials, ...init })
      const { status, headers } = response
      if (type === undefined ? response.ok : status === 200) {
        if (type === undefined || headers.get('content-type')?.split(';')[0]?.trim().toLowerCase() === type)
          return response
        const got = headers.get('content-type') ?? 'no Content-Type'
        throw new EventStreamError('ERR_SSE_NOT_A_STREAM', `The response must be ${type}, got ${got}`, status)
      }
      const reason = `HTTP ${status}`
      if (status >= 500 || RETRYABLE_STATUSES.includes(status)) {
        refresh ||= status === 401
        const afterMs = Math.max(retryAfterMs(response), status === 401 ? tokenRetryMs : 0)
        throw Object.assign(new Error(reason), { afterMs })
      }
      // The server's code, from its problem document (RFC 9457).
      const problem = await response.json().catch(() => undefined)
      throw new EventStreamError(problem?.code ?? (response.ok ? 'ERR_SSE_ENDED' : 'ERR_SSE_REFUSED'), reason, status)
    },
  }
}
