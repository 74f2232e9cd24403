import type { Blocks } from '../wire/blocks.js'

/**
 * Where a stream's bytes go, and its credit: what the socket takes and what pacing grants. After `write` or `spend` of one
 * event answered `false`, nothing more may be written until `onDrain`.
 */
export interface Sink {
  /** `false` while the socket is full, the stream is paced out, or it has ended. */
  readonly writable: boolean
  /** Whether what is in a log waits there; otherwise the sink queues it itself. */
  readonly replays: boolean
  /** It would rather give events up than be behind: what it has missed goes to its queue at once, credit or not. */
  readonly keepsUp: boolean
  /** Whether `spend` may refuse. Then it is best to write one event at a time. */
  readonly paced: boolean
  /**
   * Asks for leave to write events, all of them or none; what is granted must be written. Several may be refused where one
   * would not be. Control events need none.
   */
  spend(events: number, bytes: number): boolean
  /**
   * Writes whole blocks; they are taken in any case. Returns whether more may follow at once.
   * @param events how many events the blocks hold
   */
  write(blocks: Blocks, events: number): boolean
}

/** What a stream counts of itself: as it is now, or from its beginning. */
export interface StreamCounts {
  /** Events written, from the beginning. */
  readonly sent: number
  /** Events it owes its client from the log. */
  readonly lag: number
  /** Events that wait in its own queue. */
  readonly queued: number
  readonly queuedBytes: number
  /** How full that queue is, by events or bytes, whichever is more: 0 to 1. */
  readonly saturation: number
  /** Whether its socket takes no more. */
  readonly full: boolean
  /** Events and bytes for which its pacing gave tokens, from the beginning. */
  readonly pacedEvents: number
  readonly pacedBytes: number
}

/** Whoever feeds a stream from elsewhere. */
export interface StreamSource {
  /** Whether it owes the stream something. */
  readonly lagging: boolean
  /** How many events. */
  readonly lag: number
  /** The socket has room again, and what waited in the stream's own queue is out. */
  onDrain(): void
  /**
   * It reads a page for its turn, and the last one came in vain because others had spent the credit: credit waits for this one. Bounded
   * in time; the stream is notified of the end.
   */
  readonly claimsCredit: boolean
  /** Sends a little of what it owes, at most one write. @returns whether it sent something */
  sendSome(): boolean
  /** The stream has begun to close. Called once. */
  onClose(): void
}
