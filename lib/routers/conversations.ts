/**
 * The prebuilt streams of a messaging dashboard: all conversations of the caller's tenant, and one conversation's
 * messages. Owns the channel names and that nobody gets another tenant's.
 */
import { Router } from 'express'
import { tokenMissing } from '../auth/token-missing.js'
import { channel } from '../core/channel-name.js'
import { InvalidOptionError, RequestError } from '../core/errors.js'
import type { Auth } from '../core/ports.js'
import type { ChannelRequest, Multiplexer } from '../multiplexer/multiplexer.js'
import type { PollOptions } from '../multiplexer/poll.js'
import type { StreamOptions } from '../stream/options.js'

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
 * `GET /conversations` and `GET /messages/:conversationId`, and the same under `/poll/…` for clients that cannot have a
 * stream (see `Multiplexer.poll`). Needs `authenticate()` before it.
 * @throws InvalidOptionError
 */
export function conversationStreams({ multiplexer, authorize, stream, poll }: ConversationStreamsOptions): Router {
  if (typeof multiplexer?.stream !== 'function') {
    throw new InvalidOptionError('conversationStreams needs a multiplexer; see createMultiplexer()')
  }
  if (typeof authorize !== 'function') {
    throw new InvalidOptionError('conversationStreams needs authorize: (auth, conversationId) => boolean')
  }
  const conversations = (req: ChannelRequest): string => conversationsChannel(authOf(req).tenant)
  const messages = async (req: ChannelRequest): Promise<string> => {
    const auth = authOf(req)
    const conversationId = String(req.params.conversationId)
    if (!(await authorize(auth, conversationId, req))) {
      throw new RequestError('ERR_SSE_FORBIDDEN', 'You may not read this conversation')
    }
    return messagesChannel(auth.tenant, conversationId)
  }
  const router = Router()
  router.get('/conversations', multiplexer.stream(conversations, stream))
  router.get('/messages/:conversationId', multiplexer.stream(messages, stream))
  router.get('/poll/conversations', multiplexer.poll(conversations, poll))
  router.get('/poll/messages/:conversationId', multiplexer.poll(messages, poll))
  return router
}

function authOf({ auth }: ChannelRequest): Auth {
  if (auth === undefined) throw tokenMissing()
  return auth
}
