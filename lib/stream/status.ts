import type { Client } from '../http/requester.js'

/** One stream as it is now. */
export interface StreamStatus extends Client {
  readonly id: string
  readonly ageMs: number
  /** Events, as are the next two. */
  readonly sent: number
  readonly dropped: number
  readonly queued: number
  readonly queuedBytes: number
  /** Whether the client reads more slowly than it is sent to. */
  readonly full: boolean
  /** What its pacing would grant now. */
  readonly tokens: number | undefined
}
