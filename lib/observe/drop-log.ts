/**
 * stream ─► diagnostics ─► **drop log**: a line for events that were given up, for whoever reads logs. Sampled, because they are given
 * up when there are too many; the counters (`drops_total`, `suppressed`) leave none out.
 */
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import type { Auth } from '../core/auth.js'
import type { Clock } from '../core/clock.js'
import { diagnostics } from '../core/diagnostics.js'
import { systemClock } from '../core/system-clock.js'
import { wholeNumber } from '../core/validation.js'
import { lineWriter, toStderr } from './log-writer.js'

/** One line. JSON leaves out what is unknown. */
export interface DropLine {
  /** Names the kind of line. */
  readonly event: 'sse.drop'
  /** `queue_full`, `coalesced`, `expired` or `shed`. */
  readonly reason: string
  /** The client's address. */
  readonly client_ip: string | undefined
  /** The stream's id, as `sse.open` told its client. */
  readonly connection_id: string
  /** Who opened the stream. */
  readonly user: string | undefined
  /** The user's tenant. */
  readonly tenant: string | undefined
  /** Of this stream so far. */
  readonly drops_total: number
  /** What its pacing had left. */
  readonly bucket_tokens: number | undefined
  /** ISO 8601. */
  readonly timestamp: string
  /** Drops, of any stream, since the line before that got none. */
  readonly suppressed: number
}

/** Options of `logDrops`. */
export interface DropLogOptions {
  /** Writes a line. @defaultValue one line of JSON on stderr */
  readonly write?: (line: DropLine) => void
  /** Lines at most. @defaultValue 5 */
  readonly linesPerSecond?: number
  /** For tests. @defaultValue the system's clock */
  readonly clock?: Clock
}

/** What `diagnostics.streamDrop` says. */
interface Drop {
  readonly stream: string
  readonly reason: string
  readonly dropped: number
  readonly tokens: number | undefined
  readonly auth: Auth | undefined
  readonly ip: string | undefined
}

/**
 * Logs dropped events. A `write` that throws is warned of once (`process.emitWarning`) and harms no stream.
 * @returns the way to stop
 * @throws InvalidOptionError
 */
export function logDrops(options: DropLogOptions = {}): () => void {
  const { clock = systemClock } = options
  const write = lineWriter(options.write ?? toStderr, 'drop log', 'SSE_DROP_LOG')
  const linesPerSecond = wholeNumber('linesPerSecond', options.linesPerSecond ?? 5, 1)
  let second = Number.NEGATIVE_INFINITY
  let lines = 0
  let suppressed = 0

  const onDrop = (message: unknown): void => {
    const { stream, reason, dropped, tokens, auth, ip } = message as Drop
    const now = clock.now()
    if (now - second >= 1000) {
      second = now
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
