/**
 * What the inbox keeps, and the port to it. Both implementations pass test/example/inbox-store.suite.ts. Must not know
 * HTTP, nor that anything is streamed.
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
  /** The contact's name, or the id where the provider told none. */
  readonly contact: string
  readonly lastText: string
  /** ISO 8601; empty before the first message. */
  readonly lastAt: string
  /** Messages from the contact since somebody of the tenant last looked or answered. */
  readonly unread: number
}

/** Who writes to whom: all it takes to find or begin a conversation. */
export interface NewConversation extends Pick<Conversation, 'id' | 'tenant' | 'provider' | 'accountId' | 'contactId'> {
  /** Where the provider told none, what was known stays. */
  readonly contact: string | undefined
}

export interface Appended {
  /** The message as stored: on a repeat the first one, whatever the second said. */
  readonly message: Message
  readonly conversation: Conversation
  /** `false`: a message of this id was there before. */
  readonly added: boolean
}

/** Conversations a list holds at most. */
export const LIST_LIMIT = 100
/** Messages that opening a conversation shows at most. */
export const PAGE_LIMIT = 200
/** Messages kept per conversation; the oldest go first, and with them the memory that they were there. */
export const KEPT_MESSAGES = 1000

/** Each operation is atomic, also among processes. */
export interface InboxStore {
  /** The newest first, at most `LIST_LIMIT`. */
  listConversations(tenant: string): Promise<readonly Conversation[]>
  getConversation(tenant: string, id: string): Promise<Conversation | undefined>
  /** In the order in which they came, at most the last `PAGE_LIMIT`. */
  listMessages(tenant: string, conversationId: string): Promise<readonly Message[]>
  /** Begins the conversation unless it exists; takes over a contact's new name. */
  upsertConversation(conversation: NewConversation): Promise<Conversation>
  /** Adds a message once, whatever the number of calls. `undefined`: there is no such conversation. */
  append(tenant: string, message: Message): Promise<Appended | undefined>
  /** @returns whether anything was unread */
  markRead(tenant: string, conversationId: string): Promise<boolean>
  /** Resolves if the store serves now, else rejects within a bounded time. */
  ping(): Promise<void>
  /** Idempotent. */
  close(): Promise<void>
}
