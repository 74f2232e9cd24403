/**
 * An event as the application writes it, and the entry that a log keeps. No Node imports: the browser client shares
 * this file.
 */

/** Which events a full queue drops last (`high`) and first (`low`). */
export type Priority = 'high' | 'normal' | 'low'

/** One Server-Sent Event as the application writes it. */
export interface SseEvent {
  /** The event's type (WHATWG `event`). The prefix `sse.` is reserved for the kit. @defaultValue `message` */
  readonly event?: string
  /** A string is sent as it is, split at line ends. Any other value is sent as JSON. */
  readonly data: unknown
  /**
   * The WHATWG `id`, for events given to `stream.send`. Published events must not have one: their id is the position in
   * the log.
   */
  readonly id?: string
  /** Sets the client's reconnection time, in ms. */
  readonly retry?: number
  /** What a full queue drops first, and sends first, with the policy `drop-low-priority`. @defaultValue 'normal' */
  readonly priority?: Priority
  /**
   * Names the state that this event updates, in at most 1,024 characters. The `coalesce` policy keeps only the latest
   * event of each key.
   */
  readonly key?: string
  /** How long the event may wait in the queue of a stream, in ms. @defaultValue the stream's `queueTtlMs` */
  readonly ttlMs?: number
  /**
   * `true`: the event enters no log, has no position and is never replayed. Only open streams get it. @defaultValue
   * false
   */
  readonly ephemeral?: boolean
}

/** What happened to an event given to a stream. */
export type SendResult =
  /** Written to the socket's buffer, which had room. */
  | 'sent'
  /** Waits in the stream's queue until the socket drains or pacing grants tokens. */
  | 'queued'
  /** Queued like `queued`, and the stream also lags behind its channels: the event may wait longer. */
  | 'lagging'
  /** Dropped because the queue was full. The drop is counted and reported to the client with `sse.dropped`. */
  | 'dropped'
  /** The stream has closed. */
  | 'closed'

/** An encoded event: the bytes of the block without an `id:` line, ending in an empty line, and the queue's hints. */
export interface EncodedEvent {
  readonly body: Buffer
  readonly priority: Priority
  /** Percent-encoded. Only compared for equality. */
  readonly key: string | undefined
  readonly ttlMs: number | undefined
  readonly ephemeral: boolean
  /** The trace context: ASCII without spaces, opaque to all but `Tracing`. Absent unless the event is traced. */
  readonly trace?: string
}

/** The properties that decide how an event waits in a queue. */
export type QueueHints = Pick<EncodedEvent, 'priority' | 'key' | 'ttlMs'>

/** An event as a log keeps it and as subscribers receive it. Immutable and shared by all streams. */
export interface LogEntry {
  readonly epoch: string
  /** Dense from 1 within the epoch. 0: an ephemeral event, which is in no log. */
  readonly offset: number
  /**
   * The block without its `id:` line. Each stream adds the line when it sends the block: the id is the stream's
   * position.
   */
  readonly body: Buffer
  readonly priority: Priority
  readonly key: string | undefined
  readonly ttlMs: number | undefined
  /** When the event was published, by the publisher's clock, in ms since 1970. Absent in entries of an older format. */
  readonly publishedAt?: number | undefined
  /** Copied from the `EncodedEvent`. */
  readonly trace?: string | undefined
}

/**
 * How long ago an entry was published, in ms; `undefined` if unknown. The clocks of two machines differ, so the result
 * can be off by some ms, but it is never negative.
 */
export function delayOf({ publishedAt }: LogEntry, now: number): number | undefined {
  return publishedAt === undefined ? undefined : Math.max(0, now - publishedAt)
}
