/** The REST endpoints of the inbox. Every list has a cursor, from which the page opens the stream. */
import { createHash, randomUUID } from 'node:crypto'
import { type Request, Router } from 'express'
import { type Auth, conversationsChannel, type Multiplexer, messagesChannel } from 'express-sse-kit'
import { announceMessage, announceRead, summaryOf } from '../announce.js'
import { Problem } from '../problem.js'
import type { Conversation, InboxStore, Message } from '../store/inbox-store.js'

const MAX_TEXT_LENGTH = 4096

export interface ConversationRoutesOptions {
  readonly store: InboxStore
  readonly multiplexer: Multiplexer
}

/** Needs `authenticate()` and `express.json()` before it. */
export function conversationRoutes({ store, multiplexer }: ConversationRoutesOptions): Router {
  const router = Router()

  /** The answer is 404 for conversations of other tenants too, so that it does not reveal whether they exist. */
  async function conversationOf(req: Request): Promise<Conversation> {
    const conversation = await store.getConversation(authOf(req).tenant, String(req.params.id))
    if (conversation !== undefined) return conversation
    throw new Problem('ERR_INBOX_CONVERSATION_NOT_FOUND', 'Your tenant has no conversation with this id')
  }

  router.get('/', async (req, res) => {
    const { tenant } = authOf(req)
    // First the cursor, then the list: a message in between is in both, and none is missed.
    const cursor = await multiplexer.cursor(conversationsChannel(tenant))
    const conversations = await store.listConversations(tenant)
    res.set('Cache-Control', 'no-store').json({ items: conversations.map(summaryOf), cursor })
  })

  router.get('/:id/messages', async (req, res) => {
    const { tenant, id } = await conversationOf(req)
    const cursor = await multiplexer.cursor(messagesChannel(tenant, id))
    const items = await store.listMessages(tenant, id)
    res.set('Cache-Control', 'no-store').json({ items, cursor })
  })

  router.post('/:id/messages', async (req, res) => {
    const auth = authOf(req)
    const text = textOf(req.body)
    const conversation = await conversationOf(req)
    const appended = await store.append(auth.tenant, {
      id: messageIdFor(auth, conversation.id, req.get('Idempotency-Key')),
      conversation_id: conversation.id,
      direction: 'out',
      text,
      from: auth.user,
      at: new Date().toISOString(),
    })
    if (appended === undefined) {
      throw new Problem('ERR_INBOX_CONVERSATION_NOT_FOUND', 'The conversation was deleted')
    }
    const message: Message = appended.message
    if (message.text !== text) {
      throw new Problem(
        'ERR_INBOX_KEY_REUSED',
        'This Idempotency-Key was used with another text. Use a new key for each message.',
      )
    }
    // Also for a repeated request: the first one may have failed between the store and the streams.
    await announceMessage(multiplexer, message, appended.conversation)
    res.status(201).json(message)
  })

  router.post('/:id/read', async (req, res) => {
    const { tenant, id } = await conversationOf(req)
    if (await store.markRead(tenant, id)) await announceRead(multiplexer, tenant, id)
    res.status(204).end()
  })

  return router
}

/** @throws Error if `authenticate()` is not mounted before */
function authOf({ auth }: Request): Auth {
  if (auth === undefined) throw new Error('conversationRoutes needs authenticate() before it')
  return auth
}

function textOf(body: unknown): string {
  const given = (body as { readonly text?: unknown } | undefined | null)?.text
  const text = typeof given === 'string' ? given.toWellFormed().trim() : ''
  if (text.length >= 1 && text.length <= MAX_TEXT_LENGTH) return text
  throw new Problem('ERR_INBOX_TEXT_INVALID', `text must be a string of 1 to ${MAX_TEXT_LENGTH} characters`)
}

/** The client chooses the key, so the id also contains the scope in which the key is unique. */
function messageIdFor({ tenant, user }: Auth, conversationId: string, key: string | undefined): string {
  if (key === undefined) return `out-${randomUUID()}`
  if (!/^[\x21-\x7e]{1,128}$/.test(key)) {
    throw new Problem('ERR_INBOX_KEY_INVALID', 'Idempotency-Key must be 1 to 128 visible ASCII characters')
  }
  const scope = JSON.stringify([tenant, user, conversationId, key])
  return `out-${createHash('sha256').update(scope).digest('hex').slice(0, 32)}`
}
