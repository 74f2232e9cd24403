/**
 * kit ─► diagnostics ─► **error log**: log lines for background failures, which reach no caller. One line for each
 * cause in an interval; the others are counted (`suppressed`). Owns which diagnostics channels are logged.
 */
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import type { Clock } from '../core/clock.js'
import { diagnostics } from '../core/diagnostics.js'
import { systemClock } from '../core/system-clock.js'
import { wholeNumber } from '../core/validation.js'
import { detailsOf, type ErrorDetails, lineWriter, OncePerCause, writeToStderr } from './log-lines.js'

/** One line of the error log. A field that is `undefined` is absent in JSON. */
export interface ErrorLine extends ErrorDetails {
  /** The kind of line. */
  readonly event: 'sse.error'
  /** The name of the diagnostics channel that reported the error, without `express-sse-kit:`. */
  readonly source: string
  /** The operation that failed, such as `subscribe` or `onMessage`. */
  readonly operation: string | undefined
  /** The channel of the event. */
  readonly channel: string | undefined
  /** The stream's id, which the client received in `sse.open`. */
  readonly connection_id: string | undefined
  /** The time of the error, in ISO 8601. */
  readonly timestamp: string
  /** The number of errors of the same cause that got no line since the previous line of that cause. */
  readonly suppressed: number
}

/** Options of `logErrors`. */
export interface ErrorLogOptions {
  /** Writes one line. @defaultValue writes one line of JSON to stderr */
  readonly write?: (line: ErrorLine) => void
  /** The time after a line in which the same cause gets no other line, in ms, from 1. @defaultValue 60_000 */
  readonly intervalMs?: number
  /** For tests. @defaultValue the system clock */
  readonly clock?: Clock
}

/** The diagnostics channels of errors that reach no caller. */
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

/** The messages of these channels. */
interface FailureMessage {
  readonly error?: unknown
  readonly operation?: string
  readonly channel?: string
  readonly stream?: string
  /** This and the next two: of `webhookUnknown`, which has no `error`. */
  readonly provider?: string
  readonly reason?: string
  readonly what?: string
}

/**
 * Logs background failures, and the parts of webhook deliveries that the kit does not understand. If `write` throws or
 * rejects, the first error is reported as a warning (`process.emitWarning`, code `SSE_ERROR_LOG`). `sseErrors()` logs
 * the errors of routes.
 * @returns stops the log
 * @throws InvalidOptionError
 */
export function logErrors(options: ErrorLogOptions = {}): () => void {
  const { clock = systemClock } = options
  const intervalMs = wholeNumber('intervalMs', options.intervalMs ?? 60_000, 1)
  const write = lineWriter(options.write ?? writeToStderr, 'error log', 'SSE_ERROR_LOG')
  const causes = new OncePerCause(intervalMs, clock)

  const unsubscribes = SOURCES.map((key) => {
    const name = diagnosticsNameOf(key)
    const source = name.slice(PREFIX.length)
    const onFailure = (message: unknown): void => {
      const { error, operation, channel, stream, provider, reason, what } = message as FailureMessage
      // The part of the delivery is known; the kit ignores it deliberately.
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
    for (const stop of unsubscribes) stop()
  }
}

function diagnosticsNameOf(key: (typeof SOURCES)[number]): string {
  return String(diagnostics[key].name)
}
