/**
 * Tokens and tickets in URLs, where a native EventSource has to put them. They are removed from requests after use, and
 * redacted for loggers that run before.
 */

/** In lower case. */
const secrets = new Set(['token', 'ticket', 'access_token'])

/** Makes `redactUrl` redact this parameter too. */
export function addSecretParameter(name: string): void {
  secrets.add(name.toLowerCase())
}

/**
 * Returns the URL with the values of `token`, `ticket`, `access_token`, and of the `query` parameter of each
 * `authenticate()` in this process, replaced by `REDACTED`. For loggers that run before `authenticate()`. The rest of
 * the URL is unchanged.
 */
export function redactUrl(url: string): string {
  return mapQuery(url, (pairs) =>
    pairs.map((pair) => (secrets.has(nameOf(pair).toLowerCase()) ? `${pair.split('=')[0]}=REDACTED` : pair)),
  )
}

/** The URL without a parameter, including repeated and percent-encoded occurrences. */
export function withoutParameter(url: string, name: string): string {
  return mapQuery(url, (pairs) => pairs.filter((pair) => nameOf(pair) !== name))
}

/** The properties of Express's or Node's request that contain the URL. */
interface RequestUrl {
  url?: string | undefined
  originalUrl?: string
  query?: unknown
}

/** Removes a parameter from a request, so that no later middleware reads or logs it. */
export function stripParameter(req: RequestUrl, name: string): void {
  if (req.url !== undefined) req.url = withoutParameter(req.url, name)
  if (req.originalUrl !== undefined) req.originalUrl = withoutParameter(req.originalUrl, name)
  // Express 4 has parsed the query already. Express 5 parses `url` on each access.
  if (req.query !== null && typeof req.query === 'object') delete (req.query as Record<string, unknown>)[name]
}

function mapQuery(url: string, map: (pairs: readonly string[]) => readonly string[]): string {
  const start = url.indexOf('?')
  if (start === -1) return url
  const pairs = map(url.slice(start + 1).split('&'))
  return pairs.length === 0 ? url.slice(0, start) : `${url.slice(0, start)}?${pairs.join('&')}`
}

/** Decoded in the same way as by the reader of the query. */
function nameOf(pair: string): string {
  for (const name of new URLSearchParams(pair).keys()) return name
  return ''
}
