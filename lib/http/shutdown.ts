/**
 * The order in which a server with the kit shuts down: new connections, streams, requests, then the parts that requests
 * use.
 */
import { InvalidOptionError } from '../core/errors.js'
import { wholeNumber } from '../core/validation.js'

/** Options of `shutdown`. */
export interface ShutdownOptions {
  /** The HTTP server: any server of Node (HTTP/1.1, HTTPS, HTTP/2). */
  readonly server: ClosableServer
  /** The objects with open streams: multiplexers and `sseMiddleware()`. Each is closed within `windowMs`. */
  readonly streams: readonly {
    /** Ends all streams, spread over `windowMs`. */
    close(options: {
      /** In ms. */
      readonly windowMs: number
    }): Promise<unknown>
  }[]
  /**
   * What requests use, closed one after the other when no request is in progress: rate limits, stream limits, stores,
   * and finally the Redis that they share. @defaultValue none
   */
  readonly parts?: readonly {
    /** Closes the part. A returned promise is awaited. */
    close(): unknown
  }[]
  /**
   * Over how long the ends of streams are spread, in ms, so that clients do not reconnect all at once. 0: all end at
   * once. @defaultValue 0
   */
  readonly windowMs?: number
  /**
   * How long requests in progress, and each part, may take, in ms. Connections that are open after that are closed.
   * @defaultValue 5000
   */
  readonly graceMs?: number
}

/** The methods of a server that are used. HTTP/2 servers lack some of them. */
export interface ClosableServer {
  /** Stops accepting connections, and calls back when the last connection is closed. */
  close(onClosed: () => void): unknown
  /** Closes connections without a request in progress. */
  closeIdleConnections?(): void
  /** Closes all connections. */
  closeAllConnections?(): void
}

/** How often idle connections are closed, in ms. */
const IDLE_MS = 50

/**
 * Shuts a server down in the order of the data: it accepts no new connections; streams end with `sse.reconnect`, and
 * their clients reconnect to other processes; requests in progress are answered; then the parts are closed. Takes at
 * most `windowMs`, plus `closeGraceMs` of the streams, plus `graceMs` for the requests and for each part.
 * @throws InvalidOptionError
 * @throws AggregateError with the errors of everything that could not be closed; the rest is closed
 */
export async function shutdown(options: ShutdownOptions): Promise<void> {
  const { server, streams, parts = [] } = options
  const windowMs = wholeNumber('windowMs', options.windowMs ?? 0, 0)
  const graceMs = wholeNumber('graceMs', options.graceMs ?? 5000, 0)
  for (const [name, all] of Object.entries({ server: [server], streams, parts })) {
    if (Array.isArray(all) && all.every((each) => typeof each?.close === 'function')) continue
    throw new InvalidOptionError(
      name === 'server' ? 'server must have close()' : `${name} must be an array of objects with close()`,
    )
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
  if (errors.length > 0) throw new AggregateError(errors, 'Shutdown is incomplete: `errors` has the reasons')
}

async function attempt(close: () => unknown): Promise<void> {
  await close()
}

/** @returns whether the promise settled in time */
async function within(ms: number, settled: Promise<unknown>): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<false>((resolve) => {
    timer = setTimeout(resolve, ms, false)
  })
  const inTime = await Promise.race([settled.then(() => true), late])
  clearTimeout(timer)
  return inTime
}
