/**
 * The prebuilt streams of a messaging dashboard: all conversations of the caller's tenant, and one conversation's
 * messages. Owns the channel names and that nobody gets another tenant's.
 */
import { Router } from 'express'
import { tokenMissing } from '../auth/refusals.js'
import type { Auth } from '../core/auth.js'
import { CALLBACK_TIMEOUT_MS, invalidResult, settle } from '../core/callbacks.js'
import { channel } from '../core/channel-name.js'
import type { Clock } from '../core/clock.js'
import { forbidden, InvalidOptionError } from '../core/errors.js'
import { systemClock } from '../core/system-clock.js'
import { wholeNumber } from '../core/validation.js'
import { authOf } from '../http/auth-of.js'
import type { StreamRequest } from '../http/requester.js'
import type { Multiplexer } from '../multiplexer/multiplexer.js'
import type { ChannelRequest } from '../multiplexer/options.js'
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

/** Options of `conversationStreams`. */
export interface ConversationStreamsOptions {
  /** Serves the streams and polls. */
  readonly multiplexer: Multiplexer
  /**
   * Whether the caller may read this conversation. Asked on every opening of `/messages/:conversationId`; the answer no
   * gives 403. To answer otherwise, throw `forbidden('…')`, `notFound()` or another error. The channel is always one of the
   * caller's own tenant, whatever this says. A value that is neither `true` nor falsy is an error
   * (`ERR_SSE_CALLBACK_INVALID`): nobody gets in by a mistake.
   */
  readonly authorize: (auth: Auth, conversationId: string, req: ChannelRequest) => boolean | Promise<boolean>
  /**
   * How long `authorize` may take, in ms, at most ten minutes; then 503 `ERR_SSE_CALLBACK_TIMEOUT`. 0: no bound.
   * @defaultValue 10_000
   */
  readonly authorizeTimeoutMs?: number
  /** Override the multiplexer's stream options. */
  readonly stream?: StreamOptions
  /** For the routes under `/poll`; see `Multiplexer.poll`. */
  readonly poll?: PollOptions
  /** For tests. @defaultValue the process's clock */
  readonly clock?: Clock
}

/**
 * `GET /conversations` and `GET /messages/:conversationId`; the same under `/poll/…` for clients that cannot have a
 * stream (see `Multiplexer.poll`), where streams are moved to that do not keep up; and `POST /ack` for streams with a
 * `?window=` (see `Multiplexer.ack`). Needs `authenticate()` before it.
 * @throws InvalidOptionError
 */
export function conversationStreams(options: ConversationStreamsOptions): Router {
  const { multiplexer, authorize, stream, poll, clock = systemClock } = options
  if (typeof multiplexer?.stream !== 'function') {
    throw new InvalidOptionError('conversationStreams needs a multiplexer; see createMultiplexer()')
  }
  if (typeof authorize !== 'function') {
    throw new InvalidOptionError('conversationStreams needs authorize: (auth, conversationId) => boolean')
  }
  const timeoutMs = wholeNumber('authorizeTimeoutMs', options.authorizeTimeoutMs ?? CALLBACK_TIMEOUT_MS, 0, 600_000)
  const conversations = (req: ChannelRequest): string => conversationsChannel(callerOf(req).tenant)
  const messages = async (req: ChannelRequest): Promise<string> => {
    const auth = callerOf(req)
    const conversationId = String(req.params.conversationId)
    const allowed: unknown = await settle('authorize', () => authorize(auth, conversationId, req), { clock, timeoutMs })
    if (!allowed) throw forbidden('You may not read this conversation')
    if (allowed !== true) throw invalidResult('authorize', 'must return true or false, or a promise of one')
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
