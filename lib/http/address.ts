/** Where a request comes from: for request limits, stream limits, pacing and diagnostics alike. */
/** As much of a request, Express's or Node's, as is read here. */
interface AddressedRequest {
  readonly ip?: unknown
  readonly socket?: { readonly remoteAddress?: string | undefined; readonly destroyed?: boolean } | null
}

/**
 * The address of a request's client: `req.ip` under Express, which knows about trusted proxies, else that of the connection.
 * `undefined`: the server listens on a Unix socket and trusts no proxy, which is reported once; or the connection is gone.
 */
export function addressOf(req: object): string | undefined {
  const { ip, socket } = req as AddressedRequest
  const address = typeof ip === 'string' && ip !== '' ? ip : socket?.remoteAddress
  if (address === undefined && socket?.destroyed === false) warnOnce()
  return address
}

let warned = false

function warnOnce(): void {
  if (warned) return
  warned = true
  process.emitWarning(
    'Requests have no address (a server on a Unix socket?): they all count as one address, in request limits, stream limits and ' +
      "pacing. Set Express's 'trust proxy', so that X-Forwarded-For is read.",
    { code: 'SSE_NO_ADDRESS' },
  )
}
