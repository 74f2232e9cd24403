/** webhook ─► **inbound** ─► store ─► streams: what becomes of a message that a contact sent. */
import { createHash } from 'node:crypto'
import type { InboundMessage, Multiplexer } from 'express-sse-kit'
import { announceMessage } from './announce.js'
import type { LogLine } from './log.js'
import type { InboxStore, Provider } from './store/inbox-store.js'
import { tenantOfAccount } from './tenants.js'

const SLUGS: Readonly<Record<Provider, string>> = { whatsapp: 'wa', messenger: 'ms', instagram: 'ig' }

/** The same for the same contact of the same account, for ever, and safe in a URL. */
export function conversationIdOf(provider: Provider, accountId: string, contactId: string): string {
  return [SLUGS[provider], slug(accountId), slug(contactId)].join('-')
}

/** The providers' ids are digits; anything else is hashed, under a letter that no digits begin with. */
function slug(id: string): string {
  return /^\d{1,32}$/.test(id) ? id : `x${createHash('sha256').update(id).digest('hex').slice(0, 24)}`
}

export interface InboundOptions {
  readonly store: InboxStore
  readonly multiplexer: Multiplexer
  readonly log: LogLine
}

/** For `webhooks({ onMessage })`. What it throws makes the provider deliver again, which completes what was missing. */
export function receiveMessage({
  store,
  multiplexer,
  log,
}: InboundOptions): (message: InboundMessage) => Promise<void> {
  const unknownAccounts = new Set<string>()

  function ignore({ provider, accountId }: InboundMessage): void {
    const account = `${provider}:${accountId}`
    // Bounded, as the ids come from outside.
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
      // The provider's clock may be ahead: the conversation would stay on top until ours has caught up.
      at: new Date(Math.min(at, Date.now())).toISOString(),
    })
    if (appended === undefined) throw new Error(`Conversation ${id} vanished while a message was added`)
    await announceMessage(multiplexer, appended.message, appended.conversation)
  }
}
