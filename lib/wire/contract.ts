/**
 * The types that server and client share: the data of the control events, the acknowledgement and the poll answer. Both
 * sides import them from here, so that they cannot differ. Types only, and no Node imports: browsers load the client.
 *
 * Server and client may have different versions. New fields are therefore optional for the client, and a client ignores
 * control events and fields that it does not know.
 */
import type { CloseReason } from '../core/close-reasons.js'

/** Why events of a log cannot be sent: the log was trimmed by size, or the events expired. */
type GapReason = 'trimmed'

/**
 * Why a channel restarts. In both cases the next events do not continue the history that the client has.
 *
 * - `log_replaced`: the log was lost or replaced
 * - `cursor_ahead`: the cursor is ahead of the log
 */
export type ResetReason = 'log_replaced' | 'cursor_ahead'

/** `sse.open`: the first event of each stream. */
export interface OpenData {
  /** The id of the stream, for acknowledgements, logs and support. */
  readonly stream: string
  /**
   * The time between two heartbeats, in ms. 0: no heartbeats. After twice that time without data a client may assume
   * that the connection is lost.
   */
  readonly heartbeatMs: number
  /** How many events the server sends beyond the last acknowledged one. Absent: no acknowledgements, no limit. */
  readonly window?: number | undefined
}

/** `sse.gap`: the log no longer has the events `from` … `to` (offsets, inclusive) of the channel. */
export interface GapData {
  readonly channel: string
  readonly from: number
  readonly to: number
  readonly reason: GapReason
}

/**
 * `sse.reset`: what the client has of the channel may be incomplete; the client should reload it.
 *
 * The reason `behind`, with an empty channel, comes from the client's event bus, not from the server: the cursor of a
 * listener is older than the events that the bus keeps.
 */
export interface ResetData {
  readonly channel: string
  readonly reason: ResetReason | 'behind'
}

/** `sse.dropped`: the stream's queue dropped `count` events here, between the times `from` and `to`. */
export interface DroppedData {
  readonly count: number
  /** `queue_full`, `coalesced`, `expired` or `shed`. */
  readonly reason: string
  /** In ms since 1970. */
  readonly from: number
  /** In ms since 1970. */
  readonly to: number
}

/** `sse.reconnect`: the server ends the stream; the client should reconnect after `afterMs`. */
interface ReconnectData {
  readonly reason: CloseReason
  readonly afterMs: number
}

/** `sse.expired`: the token is no longer valid; the next request needs a new one. */
export interface ExpiredData {
  readonly reason: 'expired' | 'revoked'
}

/** `sse.poll`: the client should poll, first after `afterMs`, until a `PollAnswer` allows the stream again. */
export interface PollData {
  /** Relative to the stream's URL. */
  readonly url: string
  readonly afterMs: number
  readonly reason: CloseReason
}

/** `sse.close`: the server ends the stream; the client must not reconnect. */
interface CloseData {
  readonly reason: CloseReason
}

/** The control events by name, with the type of their data. The kit reserves all names that start with `sse.`. */
export interface ControlEvents {
  readonly 'sse.open': OpenData
  readonly 'sse.gap': GapData
  readonly 'sse.reset': ResetData
  readonly 'sse.dropped': DroppedData
  readonly 'sse.reconnect': ReconnectData
  readonly 'sse.expired': ExpiredData
  readonly 'sse.poll': PollData
  readonly 'sse.close': CloseData
  /** Sent instead of a comment if the stream's option `heartbeatEvents` is set. It has no data. */
  readonly 'sse.heartbeat': Readonly<Record<string, never>>
}

/** The body of an acknowledgement: `POST …/ack`, as JSON. */
export interface Ack {
  /** The id of the stream, from `sse.open`. */
  readonly stream: string
  /** The id of the last event handled. It acknowledges all events before it, too. */
  readonly cursor: string
  /** How full the client's own buffer is, from 0 to 1. */
  readonly buffer?: number
  /** The time from the creation of the last event until the client handled it, in ms, as the client measured it. */
  readonly latencyMs?: number
}

/** An event in a poll answer. Has the fields of the event on a stream. */
export interface PolledEvent {
  /** The client's cursor once it has handled this event. Absent on events that are not in a log. */
  readonly id?: string
  /** The event's type; `message` if the publisher set none. */
  readonly event: string
  /** The data as on a stream: a string unchanged, any other value as JSON. */
  readonly data: string
}

/** The answer to a poll, as JSON. */
export interface PollAnswer {
  /** The oldest event first. Includes control events (`sse.gap`, `sse.reset` …). */
  readonly events: readonly PolledEvent[]
  /** The cursor for the next poll, or for opening a stream. */
  readonly cursor: string
  /** Whether the client may open a stream (again). */
  readonly stream: boolean
  /** How long the client should wait before the next poll, in ms. 0: more events are available now. */
  readonly afterMs: number
  /** `true`: the channels have ended, and these are their last events: the client stops. Absent otherwise. */
  readonly ended?: true
}
