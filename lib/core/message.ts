/**
 * What travels: the event as a caller writes it, and the entry as a log keeps it. No Node imports, so that the browser
 * client may share it.
 */

/** Who is dropped last when a bounded queue overflows. */
export type Priority = 'high' | 'normal' | 'low'

/** One Server-Sent Event as the application gives it. */
export interface SseEvent {
  /** The event's type (WHATWG `event`). Without it a client sees `message`. `sse.` is reserved for the kit. */
  readonly event?: string
  /** A string goes out as it is (split at line ends); anything else as JSON. */
  readonly data: unknown
  /**
   * The WHATWG `id`, on events given to `stream.send`. Published events must not have one: there the id is the position
   * in the log.
   */
  readonly id?: string
  /** Sets the client's reconnection time, in ms. */
  readonly retry?: number
  /** @defaultValue 'normal' */
  readonly priority?: Priority
  /** What this event is the newest state of; lets the `coalesce` policy keep the latest per key. */
  readonly key?: string
  /** How long the event is worth sending to a stream that fell behind, in ms. */
  readonly ttlMs?: number
  /** `true`: not logged, has no position, is not replayed; only streams open now get it. @defaultValue false */
  readonly ephemeral?: boolean
}

/** What became of an event given to a stream. */
export type SendResult =
  /** Written to the socket's buffer, which had room. */
  | 'sent'
  /** Waits in the stream's bounded queue until the socket drains. */
  | 'queued'
  /** As `queued`, and the stream is behind its channels besides: it will be a while. */
  | 'lagging'
  /** The queue was full; counted, and told to the client with `sse.dropped`. */
  | 'dropped'
  /** The stream has ended. */
  | 'closed'

/** An event after encoding: the block's bytes without an `id:` line, ending in an empty line, and what policies need. */
export interface EncodedEvent {
  readonly body: Buffer
  readonly priority: Priority
  /** Percent-encoded: only ever compared. */
  readonly key: string | undefined
  readonly ttlMs: number | undefined
  readonly ephemeral: boolean
  /** Where its trace goes on: ASCII without spaces, that only `Tracing` understands. Left out unless it is traced. */
  readonly trace?: string
}

/** What decides about an event that has to wait. */
export type QueueHints = Pick<EncodedEvent, 'priority' | 'key' | 'ttlMs'>

/** An event as a log holds it and as subscribers get it. Immutable and shared by all streams. */
export interface LogEntry {
  readonly epoch: string
  /** Dense from 1 within the epoch; 0 for an ephemeral event, which has no place in the log. */
  readonly offset: number
  /** The block without its `id:` line, which a stream puts in front when it is sent: it says all of the stream's position. */
  readonly body: Buffer
  readonly priority: Priority
  readonly key: string | undefined
  readonly ttlMs: number | undefined
  /** By the publisher's clock, in ms since 1970. Unknown of entries in the format without it. */
  readonly publishedAt?: number | undefined
  /** As its `EncodedEvent` had it. */
  readonly trace?: string | undefined
}

/**
 * How long ago an entry was published, in ms; `undefined` where that is not known. The clocks of two machines differ, so it may be
 * some ms wrong, but nothing is older than 0.
 */
export function delayOf({ publishedAt }: LogEntry, now: number): number | undefined {
  return publishedAt === undefined ? undefined : Math.max(0, now - publishedAt)
}
