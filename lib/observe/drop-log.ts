/**
 * stream ─► diagnostics ─► **drop log**: log lines for events that streams dropped. Owns the sampling: an overload
 * drops many events at once, so only some get a line, but the counters (`drops_total`, `suppressed`) include all.
 */
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import type { Auth } from '../core/auth.js'
import type { Clock } from '../core/clock.js'
import { diagnostics } from '../core/diagnostics.js'
import { systemClock } from '../core/system-clock.js'
import { wholeNumber } from '../core/validation.js'
import { lineWriter, writeToStderr } from './log-lines.js'

/** One line of the drop log. A field that is `undefined` is absent in JSON. */
export interface DropLine {
  /** The kind of line. */
  readonly event: 'sse.drop'
  /** `queue_full`, `coalesced`, `expired` or `shed`. */
  readonly reason: string
  /** The client's address. */
  readonly client_ip: string | undefined
  /** The stream's id, which the client received in `sse.open`. */
  readonly connection_id: string
  /** The user of the stream. */
  readonly user: string | undefined
  /** The user's tenant. */
  readonly tenant: string | undefined
  /** The number of events that this stream has dropped so far. */
  readonly drops_total: number
  /** The tokens that the stream's pacing had left. */
  readonly bucket_tokens: number | undefined
  /** The time of the drop, in ISO 8601. */
  readonly timestamp: string
  /** The number of drops of all streams that got no line since the previous line. */
  readonly suppressed: number
}

/** Options of `logDrops`. */
export interface DropLogOptions {
  /** Writes one line. @defaultValue writes one line of JSON to stderr */
  readonly write?: (line: DropLine) => void
  /** The maximum number of lines per second, from 1. @defaultValue 5 */
  readonly linesPerSecond?: number
  /** For tests. @defaultValue the system clock */
  readonly clock?: Clock
}

/** The message of `diagnostics.streamDrop`. */
interface DropMessage {
  readonly stream: string
  readonly reason: string
  readonly dropped: number
  readonly tokens: number | undefined
  readonly auth: Auth | undefined
  readonly ip: string | undefined
}

/**
 * Logs dropped events. If `write` throws or rejects, the first error is reported as a warning (`process.emitWarning`,
 * code `SSE_DROP_LOG`); streams are not affected.
 * @returns stops the log
 * @throws InvalidOptionError
 */
export function logDrops(options: DropLogOptions = {}): () => void {
  const { clock = systemClock } = options
  const write = lineWriter(options.write ?? writeToStderr, 'drop log', 'SSE_DROP_LOG')
  const linesPerSecond = wholeNumber('linesPerSecond', options.linesPerSecond ?? 5, 1)
  let secondBeganAt = Number.NEGATIVE_INFINITY
  let lines = 0
  let suppressed = 0

  const onDrop = (message: unknown): void => {
    const { stream, reason, dropped, tokens, auth, ip } = message as DropMessage
    const now = clock.now()
    if (now - secondBeganAt >= 1000) {
      secondBeganAt = now
      lines = 0
    }
    if (lines >= linesPerSecond) {
      suppressed++
      return
    }
    lines++
    write({
      event: 'sse.drop',
      reason,
      client_ip: ip,
      connection_id: stream,
      user: auth?.user,
      tenant: auth?.tenant,
      drops_total: dropped,
      bucket_tokens: tokens,
      timestamp: new Date(clock.wallTime()).toISOString(),
      suppressed,
    })
    suppressed = 0
  }
  subscribe(diagnostics.streamDrop.name, onDrop)
  return () => unsubscribe(diagnostics.streamDrop.name, onDrop)
}
