/** What the workbench says of itself, as JSON: the contract with its page. Types only. */
import type { PressureLevel } from 'express-sse-kit'
import type { ClientPhase } from './client.js'
import type { ClientSettings, LIMITS, PacingSettings, ProducerSettings } from './settings.js'

export interface ClientState extends ClientSettings {
  readonly id: string
}

/** What was chosen, and what there is to choose. Sent whenever something of it changes. */
export interface WorkbenchState {
  readonly producer: ProducerSettings
  readonly clients: readonly ClientState[]
  /** The one that was played last, if anything of it runs. */
  readonly scenario: string | null
  readonly scenarios: readonly { readonly id: string; readonly title: string; readonly text: string }[]
  readonly presets: Readonly<Record<string, PacingSettings>>
  readonly limits: typeof LIMITS
  readonly maxBacklogBytes: number
}

/** What a client does; `cut-off`: the server has ended its stream, and it has not read that far. */
export type ClientPhaseSeen = ClientPhase | 'cut-off'

/** One client at one moment; the first part is what `multiplexer.inspect()` says, `null` without a stream. */
export interface ClientSample {
  readonly id: string
  readonly lag: number | null
  readonly queued: number | null
  readonly queuedBytes: number | null
  readonly tokens: number | null
  readonly full: boolean
  readonly unacknowledged: number | null
  /** By the server, over all its streams, by reason. */
  readonly dropped: Readonly<Record<string, number>>
  readonly phase: ClientPhaseSeen
  readonly reason: string | null
  readonly got: number
  readonly missed: number
  /** Of these, with priority `high`. */
  readonly missedHigh: number
  readonly repeated: number
  /** Events made that it has not handled or passed over: its lag, and what is on the way to it. */
  readonly behind: number
  readonly latencyMs: number | null
  readonly moved: number
  readonly polls: number
  readonly returned: number
}

export interface Sample {
  /** In ms since 1970. */
  readonly at: number
  /** Events, since the workbench was set up. */
  readonly published: number
  readonly pressure: PressureLevel
  readonly backlogBytes: number
  readonly rssBytes: number
  readonly loopDelayMs: number
  readonly streams: number
  readonly clients: readonly ClientSample[]
}
