/**
 * request ─► **token source** ─► verify ─► `req.auth`: where a request may contain a token. Also owns the check of
 * cookies, which browsers send uninvited: whether the page that caused the request may use them. Must not parse tokens.
 */
import type { IncomingMessage } from 'node:http'
import { parseCookie } from 'cookie'
import { RequestError } from '../core/errors.js'
import { queryOf } from '../http/query.js'

export interface SourceRules {
  /** Whether `Authorization: Bearer` is read. */
  readonly header: boolean
  readonly cookie: string | undefined
  readonly query: string | undefined
  /** Whether `?ticket=` is read. */
  readonly tickets: boolean
  /** Origins as browsers send them: `https://app.example`. */
  readonly allowedOrigins: ReadonlySet<string>
}

export interface FoundToken {
  readonly token: string
  readonly source: 'header' | 'cookie' | 'query' | 'ticket'
}

/** The query parameter for a ticket. */
export const TICKET_PARAMETER = 'ticket'

/**
 * Returns the first token found, unverified.
 * @throws RequestError `ERR_SSE_CROSS_SITE` if another site caused a request with a cookie
 */
export function findToken(req: IncomingMessage, rules: SourceRules): FoundToken | undefined {
  const bearer = rules.header ? bearerToken(req.headers.authorization) : undefined
  if (bearer !== undefined) return { token: bearer, source: 'header' }
  const ticket = rules.tickets ? ticketOf(req) : undefined
  if (ticket !== undefined) return { token: ticket, source: 'ticket' }
  const query = queryToken(req, rules.query)
  if (query !== undefined) return { token: query, source: 'query' }
  const cookie = cookieToken(req.headers.cookie, rules.cookie)
  if (cookie === undefined) return undefined
  assertSameSite(req, rules.allowedOrigins)
  return { token: cookie, source: 'cookie' }
}

/** The query parameters that may contain secrets, also those that were not used, because URLs are logged. */
export function secretParameters(req: IncomingMessage, { query, tickets }: SourceRules): readonly string[] {
  if (req.method !== 'GET' && req.method !== 'HEAD') return []
  const given = queryOf(req)
  const names: string[] = []
  if (query !== undefined && given.has(query)) names.push(query)
  if (tickets && given.has(TICKET_PARAMETER)) names.push(TICKET_PARAMETER)
  return names
}

/** RFC 6750, 2.1. Other schemes are ignored. `Bearer` without a token counts as no token. */
function bearerToken(authorization: string | undefined): string | undefined {
  const match = /^bearer(?: (.*))?$/is.exec(authorization ?? '')
  return match?.[1]?.trim() || undefined
}

/** Only for clients that can set nothing but a URL: a native EventSource sends GET without headers of its own. */
function queryToken(req: IncomingMessage, name: string | undefined): string | undefined {
  if (name === undefined || (req.method !== 'GET' && req.method !== 'HEAD')) return undefined
  return queryOf(req).get(name) || undefined
}

/** On GET only: a HEAD request must not change anything (RFC 9110, 9.2.1), and redeeming consumes the ticket. */
function ticketOf(req: IncomingMessage): string | undefined {
  return req.method === 'GET' ? queryOf(req).get(TICKET_PARAMETER) || undefined : undefined
}

/**
 * Of several cookies with the name the first one counts: browsers send the one with the longest path first (RFC 6265,
 * 5.4).
 */
function cookieToken(header: string | undefined, name: string | undefined): string | undefined {
  if (name === undefined || header === undefined) return undefined
  return parseCookie(header, { decode: unquoted })[name] || undefined
}

/** A token has no characters that need percent-encoding; a cookie's value may be quoted (RFC 6265, 4.1.1). */
function unquoted(value: string): string {
  return value.replace(/^"(.*)"$/, '$1')
}

/**
 * Browsers send in `Sec-Fetch-Site` which site caused a request; older ones send at least `Origin` if it was another
 * origin.
 */
function assertSameSite(req: IncomingMessage, allowedOrigins: ReadonlySet<string>): void {
  const { origin, host } = req.headers
  if (origin !== undefined && allowedOrigins.has(origin)) return
  const site = req.headers['sec-fetch-site']
  const same = site === undefined ? origin === undefined || isHost(origin, host) : SAME_SITE.has(String(site))
  if (same) return
  throw new RequestError(
    'ERR_SSE_CROSS_SITE',
    'The token is in a cookie, and another site caused the request. Send the token in the Authorization header, ' +
      'or add the origin to allowedOrigins.',
  )
}

const SAME_SITE: ReadonlySet<string> = new Set(['same-origin', 'same-site', 'none'])

/** Parsed with the scheme of the origin, so that a default port in only one of them makes no difference. */
function isHost(origin: string, host: string | undefined): boolean {
  const parsed = parseUrl(origin)
  return parsed !== undefined && host !== undefined && parsed.host === parseUrl(`${parsed.protocol}//${host}`)?.host
}

/** `URL.parse`, which Node 20 does not have. */
export function parseUrl(url: string): URL | undefined {
  return URL.canParse(url) ? new URL(url) : undefined
}
