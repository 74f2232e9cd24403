/** webhook ─► **inbound** ─► store ─► streams: stores and announces a message from a contact. */
import { createHash } from 'node:crypto'
import type { InboundMessage, Multiplexer } from 'express-sse-kit'
import { announceMessage } from './announce.js'
import type { LogLine } from './log.js'
import type { InboxStore, Provider } from './store/inbox-store.js'
import { tenantOfAccount } from './tenants.js'

const SLUGS: Readonly<Record<Provider, string>> = { whatsapp: 'wa', messenger: 'ms', instagram: 'ig' }

/** Returns an id that depends only on the arguments and is safe in a URL. */
export function conversationIdOf(provider: Provider, accountId: string, contactId: string): string {
  return [SLUGS[provider], slug(accountId), slug(contactId)].join('-')
}

/** The providers' ids are digits. Other ids are hashed, with a letter in front, so that they cannot equal digits. */
function slug(id: string): string {
  return /^\d{1,32}$/.test(id) ? id : `x${createHash('sha256').update(id).digest('hex').slice(0, 24)}`
}

export interface InboundOptions {
  readonly store: InboxStore
  readonly multiplexer: Multiplexer
  readonly log: LogLine
}

/**
 * Returns the function for `webhooks({ onMessage })`. If it throws, the provider retries, and the retry completes the
 * work.
 */
export function receiveMessage({
  store,
  multiplexer,
  log,
}: InboundOptions): (message: InboundMessage) => Promise<void> {
  const unknownAccounts = new Set<string>()

  function ignore({ provider, accountId }: InboundMessage): void {
    const account = `${provider}:${accountId}`
    // Bounded, because the ids come from outside.
    if (unknownAccounts.has(account) || unknownAccounts.size >= 1000) return
    unknownAccounts.add(account)
    log('warn', 'webhook.account_unknown', { provider, accountId })
  }

  return async (inbound) => {
    const { provider, accountId, messageId, from, fromName, text, at } = inbound
    const tenant = tenantOfAccount(provider, accountId)?.id
    if (tenant === undefined) {
      ignore(inbound)
      return
    }
    const id = conversationIdOf(provider, accountId, from)
    await store.upsertConversation({ id, tenant, provider, accountId, contactId: from, contact: fromName })
    const appended = await store.append(tenant, {
      id: messageId,
      conversation_id: id,
      direction: 'in',
      text,
      from,
      // The provider's clock may be ahead of ours: then the conversation would stay on top for that long.
      at: new Date(Math.min(at, Date.now())).toISOString(),
    })
    if (appended === undefined) throw new Error(`Conversation ${id} was deleted while a message was added`)
    await announceMessage(multiplexer, appended.message, appended.conversation)
  }
}
