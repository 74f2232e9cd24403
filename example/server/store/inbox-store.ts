/**
 * The data of the inbox and the interface of its store. Both implementations pass test/example/inbox-store.suite.ts.
 * Must not know HTTP or streams.
 */

export type Provider = 'whatsapp' | 'messenger' | 'instagram'

/** `in`: from the contact. `out`: from one of the tenant's users. */
export type Direction = 'in' | 'out'

export interface Message {
  readonly id: string
  readonly conversation_id: string
  readonly direction: Direction
  readonly text: string
  /** The contact's id at the provider, or the user's name. */
  readonly from: string
  /** When it was written, ISO 8601. */
  readonly at: string
}

export interface Conversation {
  readonly id: string
  readonly tenant: string
  readonly provider: Provider
  /** The tenant's account at the provider that the contact writes to. */
  readonly accountId: string
  readonly contactId: string
  /** The contact's name, or the id if the provider has sent no name. */
  readonly contact: string
  readonly lastText: string
  /** ISO 8601; empty before the first message. */
  readonly lastAt: string
  /** Messages from the contact since a user of the tenant last read or answered. */
  readonly unread: number
}

/** The fields that identify a conversation. */
export interface NewConversation extends Pick<Conversation, 'id' | 'tenant' | 'provider' | 'accountId' | 'contactId'> {
  /** The contact's name. `undefined`: the stored name stays. */
  readonly contact: string | undefined
}

export interface Appended {
  /** The stored message. After a repeated call it is the first one, also if the second one differs. */
  readonly message: Message
  readonly conversation: Conversation
  /** `false`: a message with this id existed already. */
  readonly added: boolean
}

/** The maximum number of conversations in a list. */
export const LIST_LIMIT = 100
/** The maximum number of messages that an opened conversation shows. */
export const PAGE_LIMIT = 200
/** The messages kept for each conversation. The oldest are removed first; a repeat of such a message is added again. */
export const KEPT_MESSAGES = 1000

/** Each operation is atomic, also across processes. */
export interface InboxStore {
  /** Returns at most `LIST_LIMIT` conversations, the newest first. */
  listConversations(tenant: string): Promise<readonly Conversation[]>
  getConversation(tenant: string, id: string): Promise<Conversation | undefined>
  /** Returns at most the last `PAGE_LIMIT` messages, in the order in which they were added. */
  listMessages(tenant: string, conversationId: string): Promise<readonly Message[]>
  /** Creates the conversation unless it exists, and updates the contact's name. */
  upsertConversation(conversation: NewConversation): Promise<Conversation>
  /** Adds a message once, also after repeated calls. Returns `undefined` if there is no such conversation. */
  append(tenant: string, message: Message): Promise<Appended | undefined>
  /** Marks all messages as read. @returns whether any was unread */
  markRead(tenant: string, conversationId: string): Promise<boolean>
  /** Resolves if the store is available. Rejects within a bounded time otherwise. */
  ping(): Promise<void>
  /** Idempotent. */
  close(): Promise<void>
}
