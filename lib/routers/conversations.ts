/**
 * The prebuilt streams of a messaging dashboard: all conversations of the caller's tenant, and the messages of one
 * conversation. Owns the names of the channels, and the rule that a caller gets only channels of the own tenant.
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
import type { ChannelRequest, PollOptions } from '../multiplexer/options.js'
import type { StreamOptions } from '../stream/options.js'

/** Returns the channel of all conversations of a tenant. Publish events such as `new_message` to this channel. */
export function conversationsChannel(tenant: string): string {
  return channel('conversations', tenant)
}

/** Returns the channel of the messages of one conversation. Publish `message` events to this channel. */
export function messagesChannel(tenant: string, conversationId: string): string {
  return channel('messages', tenant, conversationId)
}

/** Options of `conversationStreams`. */
export interface ConversationStreamsOptions {
  /** Serves the streams and polls. */
  readonly multiplexer: Multiplexer
  /**
   * Returns whether the caller may read this conversation. Called each time that a stream or poll of
   * `/messages/:conversationId` begins. A falsy result is answered with 403. For another answer, throw
   * `forbidden('…')`, `notFound()` or another error. The channel always belongs to the caller's own tenant, independent
   * of the result. A result that is neither `true` nor falsy is an error (`ERR_SSE_CALLBACK_INVALID`), so that a
   * mistake grants no access.
   */
  readonly authorize: (auth: Auth, conversationId: string, req: ChannelRequest) => boolean | Promise<boolean>
  /**
   * How long `authorize` may take, in ms, at most 600,000 (ten minutes). After that the answer is 503
   * `ERR_SSE_CALLBACK_TIMEOUT`. 0: no limit.
   * @defaultValue 10_000
   */
  readonly authorizeTimeoutMs?: number
  /** Options of the streams. They override the stream options of the multiplexer. */
  readonly stream?: StreamOptions
  /** Options of the routes under `/poll`; see `Multiplexer.poll`. */
  readonly poll?: PollOptions
  /** The clock for `authorizeTimeoutMs`, for tests. @defaultValue the system clock */
  readonly clock?: Clock
}

/**
 * Creates a router with these routes. It needs `authenticate()` before it.
 *
 * - `GET /conversations` and `GET /messages/:conversationId`: streams.
 * - `GET /poll/conversations` and `GET /poll/messages/:conversationId`: the same events as polls, for clients that
 *   cannot open a stream and for clients whose stream cannot keep up (see `Multiplexer.poll`).
 * - `POST /ack`: acknowledgements of streams with `?window=` (see `Multiplexer.ack`).
 *
 * @throws InvalidOptionError if an option is missing or out of range
 */
export function conversationStreams(options: ConversationStreamsOptions): Router {
  const { multiplexer, authorize, stream, poll, clock = systemClock } = options
  if (typeof multiplexer?.stream !== 'function') {
    throw new InvalidOptionError('conversationStreams() needs the option multiplexer, created by createMultiplexer()')
  }
  if (typeof authorize !== 'function') {
    throw new InvalidOptionError(
      'conversationStreams() needs the option authorize, a function (auth, conversationId) => boolean',
    )
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

/** The URL is relative to the URL of the stream, so that it also holds behind proxies that change the path. */
function pollUrl({ url = '' }: StreamRequest, name: 'conversations' | 'messages'): string {
  const [path = ''] = url.split('?')
  const up = path.endsWith('/') ? '../' : ''
  if (name === 'conversations') return `${up}poll/conversations`
  // The id is copied from the URL, where it is percent-encoded already.
  return `${up}../poll/messages/${path.split('/').filter(Boolean).at(-1)}`
}

/** @throws RequestError `ERR_SSE_TOKEN_MISSING` */
function callerOf(req: ChannelRequest): Auth {
  const auth = authOf(req)
  if (auth === undefined) throw tokenMissing()
  return auth
}
