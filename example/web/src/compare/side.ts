/** What both sides of the comparison have in common: a dashboard with a list, a thread that is open, and what it cost. */
import type { Api } from '../api.js'
import type { Session } from '../session.js'
import type { ConversationSummary, Message } from '../types.js'
import type { Meter } from './meter.js'

/** Where a side shows what it has. Called whenever there is something new. */
interface Screen {
  conversations(items: readonly ConversationSummary[]): void
  /** What the thread has; what was shown before may be in it again. */
  messages(items: readonly Message[]): void
  /** Whether it can be kept, in words; `undefined`: all is well. */
  trouble(text: string | undefined): void
}

interface SideOptions {
  readonly session: Session
  /** Counts; all that a side asks for goes through it. */
  readonly meter: Meter
  readonly api: Api
  /** The one that is open. */
  readonly conversationId: string
  readonly screen: Screen
}

/** Runs until it is stopped. @returns the way to stop */
export type StartSide = (options: SideOptions) => () => void
