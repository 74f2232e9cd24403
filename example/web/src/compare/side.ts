/** The common interface of both sides of the comparison: a dashboard with a list and an open thread. */
import type { Api } from '../api.js'
import type { Session } from '../session.js'
import type { ConversationSummary, Message } from '../types.js'
import type { Meter } from './meter.js'

/** Where a side shows its data. Called on each change. */
interface Screen {
  conversations(items: readonly ConversationSummary[]): void
  /** Messages of the thread. Messages that were shown before may be included. */
  messages(items: readonly Message[]): void
  /** A problem with the connection, as text; `undefined`: none. */
  trouble(text: string | undefined): void
}

interface SideOptions {
  readonly session: Session
  /** Counts all requests of the side. */
  readonly meter: Meter
  readonly api: Api
  /** The open conversation. */
  readonly conversationId: string
  readonly screen: Screen
}

/** Starts a side. @returns stops it */
export type StartSide = (options: SideOptions) => () => void
