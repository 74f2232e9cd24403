/**
 * The inbox that all processes on one Redis share.
 *
 *   inbox:{<tenant>}:conversations        sorted set: ids of conversations by the time of their last message
 *   inbox:{<tenant>}:conversation:<id>    hash: the conversation's fields
 *   inbox:{<tenant>}:order:<id>           list: ids of messages in the order in which they were added
 *   inbox:{<tenant>}:messages:<id>        hash: message id → message
 */
import type { Cluster, Redis } from 'ioredis'
import {
  type Appended,
  type Conversation,
  type InboxStore,
  KEPT_MESSAGES,
  LIST_LIMIT,
  type Message,
  type NewConversation,
  PAGE_LIMIT,
  type Provider,
} from './inbox-store.js'
import { StoreUnavailableError, whenReady } from './redis-client.js'
import { type FlatHash, type InboxClient, withInboxScripts } from './scripts.js'

export class RedisInboxStore implements InboxStore {
  readonly #client: InboxClient

  /** @param client see `connect`; closed with the store */
  constructor(client: Redis | Cluster) {
    this.#client = withInboxScripts(client)
  }

  async listConversations(tenant: string): Promise<readonly Conversation[]> {
    const found = await this.#run((client) =>
      client.inboxList(listKey(tenant), conversationKey(tenant, ''), String(LIST_LIMIT)),
    )
    return found.map(parseConversation).filter((conversation) => conversation !== undefined)
  }

  async getConversation(tenant: string, id: string): Promise<Conversation | undefined> {
    const fields = await this.#run((client) => client.hgetall(conversationKey(tenant, id)))
    return parseConversation(Object.entries(fields).flat())
  }

  async listMessages(tenant: string, conversationId: string): Promise<readonly Message[]> {
    const found = await this.#run((client) =>
      client.inboxMessages(orderKey(tenant, conversationId), messagesKey(tenant, conversationId), String(PAGE_LIMIT)),
    )
    return found.map((message) => JSON.parse(message) as Message)
  }

  async upsertConversation(given: NewConversation): Promise<Conversation> {
    const { id, tenant, provider, accountId, contactId, contact } = given
    const fields = Object.entries({ id, tenant, provider, accountId, contactId }).flat()
    const stored = await this.#run((client) =>
      client.inboxUpsert(conversationKey(tenant, id), listKey(tenant), id, contact ?? '', contactId, ...fields),
    )
    const conversation = parseConversation(stored)
    if (conversation === undefined) throw new Error(`Conversation ${id} was not stored`)
    return conversation
  }

  async append(tenant: string, message: Message): Promise<Appended | undefined> {
    const id = message.conversation_id
    const answer = await this.#run((client) =>
      client.inboxAppend(
        conversationKey(tenant, id),
        listKey(tenant),
        orderKey(tenant, id),
        messagesKey(tenant, id),
        id,
        message.id,
        JSON.stringify(message),
        message.text,
        message.at,
        String(Date.parse(message.at)),
        message.direction,
        String(KEPT_MESSAGES),
      ),
    )
    if (answer === null) return undefined
    const [added, stored, fields] = answer
    const conversation = parseConversation(fields)
    if (conversation === undefined) return undefined
    return { message: JSON.parse(stored) as Message, conversation, added: added === 1 }
  }

  async markRead(tenant: string, conversationId: string): Promise<boolean> {
    return (await this.#run((client) => client.inboxMarkRead(conversationKey(tenant, conversationId)))) === 1
  }

  async ping(): Promise<void> {
    await this.#run((client) => client.ping())
  }

  async close(): Promise<void> {
    this.#client.disconnect()
  }

  /** Turns failures of the connection into one error. Errors that Redis replies with are not changed. */
  async #run<T>(command: (client: InboxClient) => Promise<T>): Promise<T> {
    await whenReady(this.#client)
    try {
      return await command(this.#client)
    } catch (cause) {
      if (cause instanceof Error && cause.name === 'ReplyError') throw cause
      throw new StoreUnavailableError('Redis did not answer the command', { cause })
    }
  }
}

function listKey(tenant: string): string {
  return `${tenantKey(tenant)}:conversations`
}

function conversationKey(tenant: string, id: string): string {
  return `${tenantKey(tenant)}:conversation:${id}`
}

function orderKey(tenant: string, id: string): string {
  return `${tenantKey(tenant)}:order:${id}`
}

function messagesKey(tenant: string, id: string): string {
  return `${tenantKey(tenant)}:messages:${id}`
}

/** Escaped, because the name comes from the identity provider: `acme}:conversation:x` must share no key with `acme`. */
function tenantKey(tenant: string): string {
  return `inbox:{${encodeURIComponent(tenant)}}`
}

function parseConversation(flat: FlatHash): Conversation | undefined {
  if (flat.length === 0) return undefined
  const fields = new Map<string, string>()
  for (let i = 0; i + 1 < flat.length; i += 2) fields.set(flat[i] ?? '', flat[i + 1] ?? '')
  const field = (name: string): string => fields.get(name) ?? ''
  return {
    id: field('id'),
    tenant: field('tenant'),
    provider: field('provider') as Provider,
    accountId: field('accountId'),
    contactId: field('contactId'),
    contact: field('contact'),
    lastText: field('lastText'),
    lastAt: field('lastAt'),
    unread: Number(field('unread')),
  }
}
