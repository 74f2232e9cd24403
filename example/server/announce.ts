/** stored message ─► **announce** ─► streams: both views of a message, each sent once however often it is announced. */
import { conversationsChannel, type Multiplexer, messagesChannel } from 'express-sse-kit'
import type { Conversation, Message } from './store/inbox-store.js'

/** A conversation as clients see it. */
export type ConversationSummary = Omit<Conversation, 'tenant' | 'contactId'>

export function summaryOf({ tenant: _, contactId: __, ...summary }: Conversation): ConversationSummary {
  return summary
}

/**
 * The message's id is the idempotency key, so that a webhook delivered again, or a reply sent again after a failure
 * half-way, completes what was missing and repeats nothing.
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

/** Lets the tenant's other pages clear the badge. */
export async function announceRead(multiplexer: Multiplexer, tenant: string, conversationId: string): Promise<void> {
  await multiplexer.publish(conversationsChannel(tenant), {
    event: 'conversation_read',
    data: { type: 'conversation_read', conversation_id: conversationId },
  })
}
