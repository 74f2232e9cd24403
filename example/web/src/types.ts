/** The types of the server's responses and events. */
import type { ConversationSummary } from '../../server/announce.js'
import type { TrafficState } from '../../server/compare/traffic.js'
import type { Message, Provider } from '../../server/store/inbox-store.js'

export type { ConversationSummary, Message, Provider, TrafficState }

/** A list, and the cursor with which a stream continues it without a gap. */
export interface Listing<Item> {
  readonly items: readonly Item[]
  readonly cursor: string
}

export interface NewMessageEvent {
  readonly type: 'new_message'
  readonly conversation_id: string
  readonly message: Message
  readonly conversation: ConversationSummary
}

export interface ConversationReadEvent {
  readonly type: 'conversation_read'
  readonly conversation_id: string
}

export interface Dashboard {
  readonly profile: { readonly user: string; readonly name: string; readonly role: string }
  readonly tenant: { readonly id: string; readonly name: string }
  readonly features: Readonly<Record<string, boolean>>
  readonly channels: readonly { readonly provider: Provider; readonly id: string; readonly name: string }[]
}
