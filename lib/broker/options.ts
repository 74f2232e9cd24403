import { wholeNumber } from '../core/validation.js'

/** How logs are kept; the same for both brokers. */
export interface HistoryOptions {
  /**
   * Events a channel's log keeps at least, for resuming and for slow streams; what was published together goes together.
   * 0 keeps none: every resume is a gap.
   * @defaultValue 2000
   */
  readonly historySize?: number
  /** A log's events are dropped this long after its last publish, in ms. @defaultValue 3_600_000 (an hour) */
  readonly historyTtlMs?: number
  /**
   * A log's epoch and offset are forgotten this long after its last publish or subscription, in ms; a cursor from before
   * then gets `sse.reset`. Costs about 200 bytes a channel. @defaultValue 604_800_000 (a week)
   */
  readonly metaTtlMs?: number
  /**
   * The most logs of an embedded multiplexer. Beyond that those go that were used longest ago and nobody follows: a cursor into one gets
   * `sse.reset`. (Redis has a limit of its own, `maxmemory`.)
   * @defaultValue 100_000
   */
  readonly maxLogs?: number
  /**
   * The most bytes of events in all logs of an embedded multiplexer. Beyond that logs go as with `maxLogs`; if nothing but followed logs is
   * left, their oldest events, of those used longest ago: a cursor before them gets `sse.gap`.
   * @defaultValue 268_435_456 (256 MiB)
   */
  readonly maxLogBytes?: number
  /** How long an `idempotencyKey` given to `publish` is remembered, in ms. @defaultValue 600_000 (ten minutes) */
  readonly idempotencyTtlMs?: number
}

export type ResolvedHistoryOptions = Required<HistoryOptions>

/** @throws InvalidOptionError */
export function resolveHistoryOptions(options: HistoryOptions): ResolvedHistoryOptions {
  const historyTtlMs = wholeNumber('historyTtlMs', options.historyTtlMs ?? 3_600_000, 1)
  return {
    historySize: wholeNumber('historySize', options.historySize ?? 2000, 0, 10_000_000),
    historyTtlMs,
    maxLogs: wholeNumber('maxLogs', options.maxLogs ?? 100_000, 1),
    maxLogBytes: wholeNumber('maxLogBytes', options.maxLogBytes ?? 268_435_456, 1),
    metaTtlMs: wholeNumber('metaTtlMs', options.metaTtlMs ?? Math.max(604_800_000, historyTtlMs), historyTtlMs),
    idempotencyTtlMs: wholeNumber('idempotencyTtlMs', options.idempotencyTtlMs ?? 600_000, 1),
  }
}
