/**
 * Tokens and tickets in URLs, where native EventSources have to put them: taken out of requests once they have been used,
 * and made unreadable in what is logged before.
 */

/** Lower-case. */
const secrets = new Set(['token', 'ticket', 'access_token'])

/** From now on `redactUrl` redacts this parameter too. */
export function addSecretParameter(name: string): void {
  secrets.add(name.toLowerCase())
}

/**
 * The URL with the values of `token`, `ticket`, `access_token`, and of every `query` parameter that an `authenticate()` of this process
 * was given, replaced by `REDACTED`: for loggers that run before `authenticate()`. All else stays as it is, letter by letter.
 */
export function redactUrl(url: string): string {
  return mapQuery(url, (pairs) =>
    pairs.map((pair) => (secrets.has(nameOf(pair).toLowerCase()) ? `${pair.split('=')[0]}=REDACTED` : pair)),
  )
}

/** The URL without a parameter, however often and however encoded it is there. */
export function withoutParameter(url: string, name: string): string {
  return mapQuery(url, (pairs) => pairs.filter((pair) => nameOf(pair) !== name))
}

/** As much of Express's request, or Node's, as a secret may be found in. */
interface RequestUrl {
  url?: string | undefined
  originalUrl?: string
  query?: unknown
}

/** Takes a parameter out of a request: nobody further down reads or logs it. */
export function stripParameter(req: RequestUrl, name: string): void {
  if (req.url !== undefined) req.url = withoutParameter(req.url, name)
  if (req.originalUrl !== undefined) req.originalUrl = withoutParameter(req.originalUrl, name)
  // Express 4 has parsed it already; Express 5 parses `url` each time.
  if (req.query !== null && typeof req.query === 'object') delete (req.query as Record<string, unknown>)[name]
}

function mapQuery(url: string, map: (pairs: readonly string[]) => readonly string[]): string {
  const start = url.indexOf('?')
  if (start === -1) return url
  const pairs = map(url.slice(start + 1).split('&'))
  return pairs.length === 0 ? url.slice(0, start) : `${url.slice(0, start)}?${pairs.join('&')}`
}

/** Decoded as the query's reader decodes it. */
function nameOf(pair: string): string {
  for (const name of new URLSearchParams(pair).keys()) return name
  return ''
}
