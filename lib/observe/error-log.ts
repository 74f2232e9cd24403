/**
 * kit ─► diagnostics ─► **error log**: a line for what fails where no caller hears of it, for whoever reads logs. Once for each cause in
 * an interval; what is left out is counted (`suppressed`).
 */
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import type { Clock } from '../core/clock.js'
import { diagnostics } from '../core/diagnostics.js'
import { systemClock } from '../core/system-clock.js'
import { wholeNumber } from '../core/validation.js'
import { detailsOf, type ErrorDetails, OncePerCause } from './error-causes.js'
import { lineWriter, toStderr } from './log-writer.js'

/** One line. JSON leaves out what is unknown. */
export interface ErrorLine extends ErrorDetails {
  /** Names the kind of line. */
  readonly event: 'sse.error'
  /** The diagnostics channel it was on, without `express-sse-kit:`. */
  readonly source: string
  /** What was tried, such as `subscribe` or `onMessage`. */
  readonly operation: string | undefined
  /** The channel that an event was for. */
  readonly channel: string | undefined
  /** The stream's id, as `sse.open` told its client. */
  readonly connection_id: string | undefined
  /** ISO 8601. */
  readonly timestamp: string
  /** Errors of the same cause since its line before. */
  readonly suppressed: number
}

/** Options of `logErrors`. */
export interface ErrorLogOptions {
  /** Writes a line. @defaultValue one line of JSON on stderr */
  readonly write?: (line: ErrorLine) => void
  /** How long a cause that has its line gets no other, in ms. @defaultValue 60_000 */
  readonly intervalMs?: number
  /** For tests. @defaultValue the system's clock */
  readonly clock?: Clock
}

/** The channels on which errors are that no caller gets. */
const SOURCES = [
  'brokerError',
  'publishError',
  'storeError',
  'limiterError',
  'streamError',
  'callbackError',
  'webhookError',
  'webhookUnknown',
] as const satisfies readonly (keyof typeof diagnostics)[]

const PREFIX = 'express-sse-kit:'

/** What these channels say. */
interface Failure {
  readonly error?: unknown
  readonly operation?: string
  readonly channel?: string
  readonly stream?: string
  /** Of `webhookUnknown`, which has no error. */
  readonly provider?: string
  readonly reason?: string
  readonly what?: string
}

/**
 * Logs what fails in the background, and what webhooks cannot use. A `write` that throws is warned of once (`process.emitWarning`)
 * and harms nobody. Errors of routes are logged by `sseErrors()`, with or without this.
 * @returns the way to stop
 * @throws InvalidOptionError
 */
export function logErrors(options: ErrorLogOptions = {}): () => void {
  const { clock = systemClock } = options
  const intervalMs = wholeNumber('intervalMs', options.intervalMs ?? 60_000, 1)
  const write = lineWriter(options.write ?? toStderr, 'error log', 'SSE_ERROR_LOG')
  const causes = new OncePerCause(intervalMs, clock)

  const stops = SOURCES.map((key) => {
    const name = diagnosticsNameOf(key)
    const source = name.slice(PREFIX.length)
    const onFailure = (message: unknown): void => {
      const { error, operation, channel, stream, provider, reason, what } = message as Failure
      // Read, and no message to us.
      if (reason === 'left_out') return
      const details = detailsOf(key === 'webhookUnknown' ? `${provider}: ${reason} ${what}` : error)
      const suppressed = causes.admit(`${source} ${operation}`, details)
      if (suppressed === undefined) return
      const timestamp = new Date(clock.wallTime()).toISOString()
      write({
        event: 'sse.error',
        source,
        operation,
        channel,
        connection_id: stream,
        ...details,
        timestamp,
        suppressed,
      })
    }
    subscribe(name, onFailure)
    return () => void unsubscribe(name, onFailure)
  })
  return () => {
    for (const stop of stops) stop()
  }
}

function diagnosticsNameOf(key: (typeof SOURCES)[number]): string {
  return String(diagnostics[key].name)
}
