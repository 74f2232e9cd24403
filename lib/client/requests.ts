/** The requests of one stream: the token each needs, and what a refusal means. */
import { retryAfterMs } from './backoff.js'
import { EventStreamError } from './error.js'
import type { ClientOptions } from './options.js'

type Headers = Record<string, string>

/** A failure that another attempt may mend, though not before this has passed. */
export interface RetryableError extends Error {
  readonly afterMs?: number
}

export interface Requests {
  /** Puts the token where it goes: into the URL, or into the headers returned. */
  authorize(url: URL, place?: ClientOptions['tokenIn']): Promise<Headers>
  /**
   * @param type what the answer must be; left out: nothing in particular
   * @throws RetryableError, EventStreamError unless it is answered with that
   */
  send(url: URL, init: RequestInit, type?: string): Promise<Response>
  /** The token is good no more: a fresh one for the next request. */
  expireToken(): void
}

/** Besides 5xx: the same request may succeed later. */
const WORTH_A_RETRY = [401, 408, 425, 429]

export function createRequests(options: ClientOptions): Requests {
  const { tokenIn = options.transport === 'native' ? 'token' : 'header', tokenRetryMs = 3000 } = options
  let refresh = false
  return {
    expireToken() {
      refresh = true
    },

    async authorize(url, place = tokenIn) {
      // Always a turn later, so that who is closed at once asks for nothing.
      const asked = refresh
      const token = await options.token?.(asked, url.href)
      if (asked) refresh = false
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
        throw new EventStreamError('ERR_SSE_NOT_A_STREAM', `The answer is no ${type}`, status)
      }
      const reason = `HTTP ${status}`
      if (status >= 500 || WORTH_A_RETRY.includes(status)) {
        refresh ||= status === 401
        const afterMs = Math.max(retryAfterMs(response), status === 401 ? tokenRetryMs : 0)
        throw Object.assign(new Error(reason), { afterMs })
      }
      // The server's own code, from its problem document (RFC 9457).
      const problem = await response.json().catch(() => undefined)
      throw new EventStreamError(problem?.code ?? (response.ok ? 'ERR_SSE_ENDED' : 'ERR_SSE_REFUSED'), reason, status)
    },
  }
}
