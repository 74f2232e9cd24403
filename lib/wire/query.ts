/**
 * The query of a request's URL. Not `req.query`, which depends on the application's query parser, and not `new URL`,
 * which throws on what a request line may hold.
 */
export function queryOf({ url = '' }: { readonly url?: string | undefined }): URLSearchParams {
  const start = url.indexOf('?')
  return new URLSearchParams(start === -1 ? '' : url.slice(start + 1))
}
