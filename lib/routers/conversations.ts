/**
 * The prebuilt streams of a messaging dashboard: all conversations of the caller's tenant, and one conversation's
 * messages. Owns the channel names and that nobody gets another tenant's.
 */
import { Router } from 'express'
import { tokenMissing } from '../auth/token-missing.js'
import { channel } from '../core/channel-name.js'
import { InvalidOptionError, RequestError } from '../core/errors.js'
import type { Auth } from '../core/ports.js'
import { authOf } from '../http/auth-of.js'
import type { Multiplexer } from '../multiplexer/multiplexer.js'
import type { ChannelRequest } from '../multiplexer/options.js'
import type { PollOptions } from '../multiplexer/poll.js'
import type { StreamOptions } from '../stream/options.js'
import type { StreamRequest } from '../stream/response.js'

/** The channel of all conversations of a tenant: publish `new_message` and the like here. */
export function conversationsChannel(tenant: string): string {
  return channel('conversations', tenant)
}

/** The channel of one conversation's messages: publish `message` here. */
export function messagesChannel(tenant: string, conversationId: string): string {
  return channel('messages', tenant, conversationId)
}

export interface ConversationStreamsOptions {
  readonly multiplexer: Multiplexer
  /**
   * Whether the caller may read this conversation. Asked on every opening of `/messages/:conversationId`; the answer no
   * gives 403. The channel is always one of the caller's own tenant, whatever this says.
   */
  readonly authorize: (auth: Auth, conversationId: string, req: ChannelRequest) => boolean | Promise<boolean>
  /** Override the multiplexer's stream options. */
  readonly stream?: StreamOptions
  readonly poll?: PollOptions
}

/**
 * `GET /conversations` and `GET /messages/:conversationId`; the same under `/poll/…` for clients that cannot have a
 * stream (see `Multiplexer.poll`), where streams are moved to that do not keep up; and `POST /ack` for streams with a
 * `?window=` (see `Multiplexer.ack`). Needs `authenticate()` before it.
 * @throws InvalidOptionError
 */
export function conversationStreams({ multiplexer, authorize, stream, poll }: ConversationStreamsOptions): Router {
  if (typeof multiplexer?.stream !== 'function') {
    throw new InvalidOptionError('conversationStreams needs a multiplexer; see createMultiplexer()')
  }
  if (typeof authorize !== 'function') {
    throw new InvalidOptionError('conversationStreams needs authorize: (auth, conversationId) => boolean')
  }
  const conversations = (req: ChannelRequest): string => conversationsChannel(callerOf(req).tenant)
  const messages = async (req: ChannelRequest): Promise<string> => {
    const auth = callerOf(req)
    const conversationId = String(req.params.conversationId)
    if (!(await authorize(auth, conversationId, req))) {
      throw new RequestError('ERR_SSE_FORBIDDEN', 'You may not read this conversation')
    }
    return messagesChannel(auth.tenant, conversationId)
  }
  const router = Router()
  const conversationsPoll = { pollUrl: (req: StreamRequest) => pollUrl(req, 'conversations'), ...stream }
  const messagesPoll = { pollUrl: (req: StreamRequest) => pollUrl(req, 'messages'), ...stream }
  router.get('/conversations', multiplexer.stream(conversations, conversationsPoll))
  router.get('/messages/:conversationId', multiplexer.stream(messages, messagesPoll))
  router.post('/ack', multiplexer.ack())
  router.get('/poll/conversations', multiplexer.poll(conversations, poll))
  router.get('/poll/messages/:conversationId', multiplexer.poll(messages, poll))
  return router
}

/** Relative to the stream's own URL, so it is right behind proxies that change the path. */
function pollUrl({ url = '' }: StreamRequest, name: 'conversations' | 'messages'): string {
  const [path = ''] = url.split('?')
  const up = path.endsWith('/') ? '../' : ''
  if (name === 'conversations') return `${up}poll/conversations`
  // As it stands in the URL: percent-encoded.
  return `${up}../poll/messages/${path.split('/').filter(Boolean).at(-1)}`
}

/** @throws RequestError `ERR_SSE_TOKEN_MISSING` */
function callerOf(req: ChannelRequest): Auth {
  const auth = authOf(req)
  if (auth === undefined) throw tokenMissing()
  return auth
}
