import { answeredAtOnce, invalidResult } from '../core/callbacks.js'
import { InvalidOptionError } from '../core/errors.js'
import { isWholeNumber, wholeNumber } from '../core/validation.js'

/** How much of a channel's log is kept, and for how long: the options of the same names, for one channel. */
export interface Retention {
  /** See `HistoryOptions.historySize`. @defaultValue the option */
  readonly historySize?: number | undefined
  /** See `HistoryOptions.historyTtlMs`. @defaultValue the option */
  readonly historyTtlMs?: number | undefined
}

/** How logs are kept; the same for both brokers. */
export interface HistoryOptions {
  /**
   * The minimum number of events that a channel's log keeps, for resuming and for slow streams. Events that were
   * published together are removed together, so a log may keep more. 0: keeps none, and every resume is a gap.
   * @defaultValue 2000
   */
  readonly historySize?: number
  /**
   * The time after a log's last publish when its events are removed, in ms. In Redis they may stay up to an eighth
   * longer, and the log's epoch and offset by as much, because their TTLs are not renewed at each publish.
   * @defaultValue 3_600_000 (one hour)
   */
  readonly historyTtlMs?: number
  /**
   * Chooses `historySize` and `historyTtlMs` by channel, for example more events for a shorter time for logs that end.
   * Must return the same for a channel each time, in all processes, and not a promise. An error that it throws refuses
   * the publish or the stream. @defaultValue the same for all channels
   */
  readonly retention?: ((channel: string) => Retention | undefined) | undefined
  /**
   * The time after a log's last publish or subscription when its epoch and offset are removed, in ms, at least
   * `historyTtlMs`. A cursor from before then gets `sse.reset`. A log without events takes about 200 bytes. In Redis at
   * least a minute, or five command time-outs if that is longer: so long Redis must recognise repeated publications.
   * @defaultValue 604_800_000 (one week), or `historyTtlMs` if that is longer
   */
  readonly metaTtlMs?: number
  /**
   * The maximum number of logs of an embedded multiplexer. When it is reached, the least recently used logs without
   * subscribers are evicted, and cursors into them get `sse.reset`. (In Redis, set `maxmemory`.)
   * @defaultValue 100_000
   */
  readonly maxLogs?: number
  /**
   * The maximum bytes of events in all logs of an embedded multiplexer. When it is exceeded, logs are evicted like for
   * `maxLogs`. If only logs with subscribers remain, the oldest events of the least recently used logs are removed, and
   * cursors before them get `sse.gap`.
   * @defaultValue 268_435_456 (256 MiB)
   */
  readonly maxLogBytes?: number
  /** How long an `idempotencyKey` given to `publish` is remembered, in ms. @defaultValue 600_000 (ten minutes) */
  readonly idempotencyTtlMs?: number
}

/** How the logs are reached in Redis. An embedded multiplexer ignores these options. */
export interface RedisLogOptions {
  /**
   * Prefix of every key and pub/sub channel in Redis. Multiplexers with the same database, `keyPrefix` and `prefix`
   * share their channels.
   * @defaultValue 'sse:'
   */
  readonly prefix?: string
  /**
   * The time limit of a command, in ms, from 1 to 600_000, including the wait for the connection and all retries.
   * `close` waits up to this long until accepted events are published.
   * @defaultValue 2000
   */
  readonly commandTimeoutMs?: number
  /**
   * The interval at which the connections are tested, in ms, from 100 to 600_000. A connection that died silently is
   * reset after at most `probeMs + commandTimeoutMs`. @defaultValue 5000
   */
  readonly probeMs?: number
}

export type ResolvedRetention = Readonly<Record<'historySize' | 'historyTtlMs', number>>

export interface ResolvedHistoryOptions
  extends Readonly<Required<Omit<HistoryOptions, 'retention' | keyof Retention>>> {
  /** @throws Error of the application; SseError `ERR_SSE_CALLBACK_INVALID` */
  readonly retentionOf: (channel: string) => ResolvedRetention
}

const MAX_HISTORY_SIZE = 10_000_000

/** Checks the options and fills in the defaults. @throws InvalidOptionError */
export function resolveHistoryOptions(options: HistoryOptions): ResolvedHistoryOptions {
  const { retention } = options
  const historyTtlMs = wholeNumber('historyTtlMs', options.historyTtlMs ?? 3_600_000, 1)
  const historySize = wholeNumber('historySize', options.historySize ?? 2000, 0, MAX_HISTORY_SIZE)
  const common: ResolvedRetention = { historySize, historyTtlMs }
  if (retention !== undefined && typeof retention !== 'function') {
    throw new InvalidOptionError('retention must be a function of a channel')
  }
  return {
    retentionOf: retention === undefined ? () => common : (channel) => retentionFrom(retention(channel), common),
    maxLogs: wholeNumber('maxLogs', options.maxLogs ?? 100_000, 1),
    maxLogBytes: wholeNumber('maxLogBytes', options.maxLogBytes ?? 268_435_456, 1),
    metaTtlMs: wholeNumber('metaTtlMs', options.metaTtlMs ?? Math.max(604_800_000, historyTtlMs), historyTtlMs),
    idempotencyTtlMs: wholeNumber('idempotencyTtlMs', options.idempotencyTtlMs ?? 600_000, 1),
  }
}

/** @throws SseError `ERR_SSE_CALLBACK_INVALID` */
function retentionFrom(returned: unknown, common: ResolvedRetention): ResolvedRetention {
  const chosen = answeredAtOnce('retention', returned, () => undefined)
  if (chosen === undefined) return common
  if (typeof chosen === 'object' && chosen !== null) {
    const { historySize = common.historySize, historyTtlMs = common.historyTtlMs } = chosen as Partial<Retention>
    if (isWholeNumber(historySize, 0, MAX_HISTORY_SIZE) && isWholeNumber(historyTtlMs, 1)) {
      return { historySize, historyTtlMs }
    }
  }
  const form = `{ historySize?: 0 to ${MAX_HISTORY_SIZE}, historyTtlMs?: from 1 }`
  throw invalidResult('retention', `must return undefined, or whole numbers ${form}`)
}
