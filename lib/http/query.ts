const NONE: Query = new URLSearchParams()

/** To read from: one without parameters is everybody's. */
export type Query = Pick<URLSearchParams, 'get' | 'has'>

/**
 * The query of a request's URL. Not `req.query`, which depends on the application's query parser, and not `new URL`,
 * which throws on what a request line may hold.
 */
export function queryOf({ url = '' }: { readonly url?: string | undefined }): Query {
  const start = url.indexOf('?')
  return start === -1 ? NONE : new URLSearchParams(url.slice(start + 1))
}
