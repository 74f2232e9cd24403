/** The order in which a server that uses the kit ends: nothing new, then its streams, then requests, then what they needed. */
import { InvalidOptionError } from '../core/errors.js'
import { wholeNumber } from '../core/validation.js'

/** Options of `shutdown`. */
export interface ShutdownOptions {
  /** The HTTP server; any server of Node's (HTTP/1.1, HTTPS, HTTP/2). */
  readonly server: ClosableServer
  /** What has open streams, multiplexers and `sseMiddleware()`: each is closed over `windowMs`. */
  readonly streams: readonly {
    /** Ends all streams, spread over `windowMs`. */
    close(options: {
      /** In ms. */
      readonly windowMs: number
    }): Promise<unknown>
  }[]
  /**
   * What requests need, closed one after the other when none is under way any more: rate limits, stream limits, stores, and last
   * the Redis they share. @defaultValue none
   */
  readonly parts?: readonly {
    /** Closes the part; its promise is waited for. */
    close(): unknown
  }[]
  /** Over how long the ends of streams are spread, in ms. 0: all at once. @defaultValue 0 */
  readonly windowMs?: number
  /**
   * How long requests that are under way, and each part, may take, in ms. Connections that are still open then are cut off.
   * @defaultValue 5000
   */
  readonly graceMs?: number
}

/** As much of a server as is needed. HTTP/2 servers lack some of it. */
export interface ClosableServer {
  /** Stops accepting connections, and calls back when the last connection is closed. */
  close(onClosed: () => void): unknown
  /** Closes the connections without a request under way. */
  closeIdleConnections?(): void
  /** Closes all connections. */
  closeAllConnections?(): void
}

/** How often connections that have become idle are closed. */
const IDLE_MS = 50

/**
 * Ends a server in the order of the data: no new connections; streams end with `sse.reconnect` and their clients go to other
 * processes; requests under way are answered; then the parts are closed. Takes at most `windowMs`, the streams' `closeGraceMs`,
 * and `graceMs` for the requests and for each part.
 * @throws InvalidOptionError
 * @throws AggregateError of what could not be closed; the rest was closed all the same
 */
export async function shutdown(options: ShutdownOptions): Promise<void> {
  const { server, streams, parts = [] } = options
  const windowMs = wholeNumber('windowMs', options.windowMs ?? 0, 0)
  const graceMs = wholeNumber('graceMs', options.graceMs ?? 5000, 0)
  for (const [name, all] of Object.entries({ server: [server], streams, parts })) {
    if (Array.isArray(all) && all.every((each) => typeof each?.close === 'function')) continue
    throw new InvalidOptionError(`${name} must be something with close(), or an array of such`)
  }
  const errors: unknown[] = []
  const collect = (error: unknown): void => void errors.push(error)

  const closed = new Promise<void>((resolve) => server.close(() => resolve()))
  await Promise.all(streams.map((each) => attempt(() => each.close({ windowMs })).catch(collect)))
  const closingIdle = setInterval(() => server.closeIdleConnections?.(), IDLE_MS)
  const served = await within(graceMs, closed)
  clearInterval(closingIdle)
  if (!served) server.closeAllConnections?.()
  for (const part of parts) {
    const ended = await within(graceMs, attempt(() => part.close()).catch(collect))
    if (!ended) errors.push(new Error(`A part did not close within ${graceMs} ms`))
  }
  if (errors.length > 0) throw new AggregateError(errors, 'Not everything could be closed')
}

async function attempt(close: () => unknown): Promise<void> {
  await close()
}

/** @returns whether it was settled in time */
async function within(ms: number, settled: Promise<unknown>): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<false>((resolve) => {
    timer = setTimeout(resolve, ms, false)
  })
  const inTime = await Promise.race([settled.then(() => true), late])
  clearTimeout(timer)
  return inTime
}
