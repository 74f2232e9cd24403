import type { Auth } from '../core/auth.js'

/** One stream as it is now. */
export interface StreamStatus {
  /** `req.auth` of its request. */
  readonly auth?: Auth | undefined
  /** The address of its client. */
  readonly ip?: string | undefined
  /** Names the stream in `sse.open`, diagnostics and logs. */
  readonly id: string
  /** How long it has been open, in ms. */
  readonly ageMs: number
  /** Events sent since it was opened. */
  readonly sent: number
  /** Events dropped since it was opened. */
  readonly dropped: number
  /** Events in its queue now. */
  readonly queued: number
  /** Bytes of the events in its queue now. */
  readonly queuedBytes: number
  /** Whether the client reads more slowly than it is sent to. */
  readonly full: boolean
  /** What its pacing would grant now. */
  readonly tokens: number | undefined
}
