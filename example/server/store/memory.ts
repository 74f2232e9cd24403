/** The inbox of a single process. Operations are atomic because none awaits. */
import {
  type Appended,
  type Conversation,
  type InboxStore,
  KEPT_MESSAGES,
  LIST_LIMIT,
  type Message,
  type NewConversation,
  PAGE_LIMIT,
} from './inbox-store.js'

interface Thread {
  conversation: Conversation
  /** By id, in the order in which they were added. */
  readonly messages: Map<string, Message>
}

export class MemoryInboxStore implements InboxStore {
  /** By tenant, then by conversation. */
  readonly #tenants = new Map<string, Map<string, Thread>>()

  async listConversations(tenant: string): Promise<readonly Conversation[]> {
    return [...this.#threadsOf(tenant).values()]
      .map(({ conversation }) => conversation)
      .sort((a, b) => compare(b.lastAt, a.lastAt) || compare(b.id, a.id))
      .slice(0, LIST_LIMIT)
  }

  async getConversation(tenant: string, id: string): Promise<Conversation | undefined> {
    return this.#threadsOf(tenant).get(id)?.conversation
  }

  async listMessages(tenant: string, conversationId: string): Promise<readonly Message[]> {
    return [...(this.#threadsOf(tenant).get(conversationId)?.messages.values() ?? [])].slice(-PAGE_LIMIT)
  }

  async upsertConversation(given: NewConversation): Promise<Conversation> {
    const threads = this.#threadsOf(given.tenant)
    const thread = threads.get(given.id)
    if (thread === undefined) {
      const conversation = { ...given, contact: given.contact ?? given.contactId, lastText: '', lastAt: '', unread: 0 }
      threads.set(given.id, { conversation, messages: new Map() })
      return conversation
    }
    if (given.contact !== undefined) thread.conversation = { ...thread.conversation, contact: given.contact }
    return thread.conversation
  }

  async append(tenant: string, message: Message): Promise<Appended | undefined> {
    const thread = this.#threadsOf(tenant).get(message.conversation_id)
    if (thread === undefined) return undefined
    const before = thread.messages.get(message.id)
    if (before !== undefined) return { message: before, conversation: thread.conversation, added: false }
    thread.messages.set(message.id, message)
    if (thread.messages.size > KEPT_MESSAGES) {
      for (const oldest of thread.messages.keys()) {
        thread.messages.delete(oldest)
        break
      }
    }
    const { conversation } = thread
    // A message that arrives late does not become the newest.
    const newest = message.at >= conversation.lastAt ? { lastText: message.text, lastAt: message.at } : {}
    const unread = message.direction === 'in' ? conversation.unread + 1 : 0
    thread.conversation = { ...conversation, ...newest, unread }
    return { message, conversation: thread.conversation, added: true }
  }

  async markRead(tenant: string, conversationId: string): Promise<boolean> {
    const thread = this.#threadsOf(tenant).get(conversationId)
    if (thread === undefined || thread.conversation.unread === 0) return false
    thread.conversation = { ...thread.conversation, unread: 0 }
    return true
  }

  async ping(): Promise<void> {
    // The memory of this process is always available.
  }

  async close(): Promise<void> {
    this.#tenants.clear()
  }

  #threadsOf(tenant: string): Map<string, Thread> {
    const threads = this.#tenants.get(tenant) ?? new Map<string, Thread>()
    this.#tenants.set(tenant, threads)
    return threads
  }
}

/** ISO 8601 in UTC sorts as text. */
function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
