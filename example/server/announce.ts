/**
 * stored message ─► **announce** ─► streams: publishes both views of a message, each once, also if it is announced
 * again.
 */
import { conversationsChannel, type Multiplexer, messagesChannel } from 'express-sse-kit'
import type { Conversation, Message } from './store/inbox-store.js'

/** The public part of a conversation, as clients get it. */
export type ConversationSummary = Omit<Conversation, 'tenant' | 'contactId'>

export function summaryOf({ tenant: _, contactId: __, ...summary }: Conversation): ConversationSummary {
  return summary
}

/**
 * Publishes a message on its conversation and on the tenant's list. The idempotency key is the id of the message. So a
 * repeated webhook, or a reply that is retried after a partial failure, publishes only what is missing.
 * @throws BrokerError
 */
export async function announceMessage(
  multiplexer: Multiplexer,
  message: Message,
  conversation: Conversation,
): Promise<void> {
  const { tenant, id } = conversation
  const once = { idempotencyKey: message.id }
  await Promise.all([
    multiplexer.publish(messagesChannel(tenant, id), { event: 'message', data: message }, once),
    multiplexer.publish(
      conversationsChannel(tenant),
      {
        event: 'new_message',
        data: { type: 'new_message', conversation_id: id, message, conversation: summaryOf(conversation) },
      },
      once,
    ),
  ])
}

/** Notifies the other pages of the tenant, which then clear the badge. */
export async function announceRead(multiplexer: Multiplexer, tenant: string, conversationId: string): Promise<void> {
  await multiplexer.publish(conversationsChannel(tenant), {
    event: 'conversation_read',
    data: { type: 'conversation_read', conversation_id: conversationId },
  })
}
