/** The state of the workbench as JSON: the contract with its page. Types only. */
import type { PressureLevel } from 'express-sse-kit'
import type { ClientPhase } from './client.js'
import type { ClientSettings, LIMITS, PacingSettings, ProducerSettings } from './settings.js'

export interface ClientState extends ClientSettings {
  readonly id: string
}

/** The current settings, and the available choices. Sent after each change. */
export interface WorkbenchState {
  readonly producer: ProducerSettings
  readonly clients: readonly ClientState[]
  /** The id of the scenario that runs. */
  readonly scenario: string | null
  readonly scenarios: readonly { readonly id: string; readonly title: string; readonly text: string }[]
  readonly presets: Readonly<Record<string, PacingSettings>>
  readonly limits: typeof LIMITS
  readonly maxBacklogBytes: number
}

/** `cut-off`: the server has ended the stream, and the client has not read the end yet. */
export type ClientPhaseSeen = ClientPhase | 'cut-off'

/** One client at one moment. The first values come from `multiplexer.inspect()`, and are `null` without a stream. */
export interface ClientSample {
  readonly id: string
  readonly lag: number | null
  readonly queued: number | null
  readonly queuedBytes: number | null
  readonly tokens: number | null
  readonly full: boolean
  readonly unacknowledged: number | null
  /** Events that the server has dropped, over all streams of the client, by reason. */
  readonly dropped: Readonly<Record<string, number>>
  readonly phase: ClientPhaseSeen
  readonly reason: string | null
  readonly got: number
  readonly missed: number
  /** Missed events with priority `high`. */
  readonly missedHigh: number
  readonly repeated: number
  /** Published events after the last one that the client has handled: its lag and the events on the way. */
  readonly behind: number
  readonly latencyMs: number | null
  readonly moved: number
  readonly polls: number
  readonly returned: number
}

export interface Sample {
  /** In ms since 1970. */
  readonly at: number
  /** Published events since the bench was created. */
  readonly published: number
  readonly pressure: PressureLevel
  readonly backlogBytes: number
  readonly rssBytes: number
  readonly loopDelayMs: number
  readonly streams: number
  readonly clients: readonly ClientSample[]
}
