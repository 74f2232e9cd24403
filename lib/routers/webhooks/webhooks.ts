/**
 * provider ─► **router** (handshake, raw bytes, signature) ─► payload ─► deliver once ─► onMessage. Owns the HTTP side
 * of the webhooks; must not know what a payload looks like inside.
 */
import express, { type NextFunction, type Request, type RequestHandler, type Response, type Router } from 'express'
import { compositeKey } from '../../core/composite-key.js'
import { RequestError, SseError } from '../../core/errors.js'
import { sendProblem } from '../../wire/problem.js'
import { queryOf } from '../../wire/query.js'
import { bodyError } from '../body-error.js'
import { DeliverOnce } from './deliver-once.js'
import type { PayloadParser, Provider } from './message.js'
import { parseInstagram, parseMessenger } from './messenger.js'
import {
  type ResolvedProvider,
  type ResolvedWebhooksOptions,
  resolveWebhooksOptions,
  type WebhooksOptions,
} from './options.js'
import { isSameSecret, isSigned } from './signature.js'
import { parseWhatsApp } from './whatsapp.js'

export type WebhooksRouter = Router & {
  /** Closes the store, unless it was given. Idempotent. */
  close(): Promise<void>
}

const PARSERS: Readonly<Record<Provider, PayloadParser>> = Object.freeze({
  whatsapp: parseWhatsApp,
  messenger: parseMessenger,
  instagram: parseInstagram,
})

const MAX_CHALLENGE_LENGTH = 1024

/**
 * `GET` and `POST` of `/whatsapp`, `/messenger` and `/instagram`, as Meta calls them. Mount it before body parsers: the
 * signature is over the raw bytes.
 * @throws InvalidOptionError
 */
export function webhooks(options: WebhooksOptions): WebhooksRouter {
  const resolved = resolveWebhooksOptions(options)
  const deliverOnce = new DeliverOnce(resolved)
  const readBody = bodyReader(resolved.maxBodyBytes)
  const router = express.Router()
  for (const [provider, config] of resolved.providers) {
    router
      .route(`/${provider}`)
      .get(handshake(config))
      .post(answering((req, res) => receive(provider, config, resolved, deliverOnce, readBody, req, res)))
      .all(answering(refuseMethod))
  }
  const close = async (): Promise<void> => {
    await deliverOnce.close()
    if (resolved.ownsStore) await resolved.store.close()
  }
  return Object.assign(router, { close })
}

/** Errors of the kit are answered here, the application's go to Express. Not `async`, for Express 4. */
function answering(handler: (req: Request, res: Response) => Promise<void>): RequestHandler {
  return (req: Request, res: Response, next: NextFunction): void => {
    handler(req, res).catch((error: unknown) => {
      if (error instanceof AppFailure) next(error.cause)
      else if (error instanceof SseError) sendProblem(res, error)
      else next(error)
    })
  }
}

/** Marks what `onMessage` threw, which may well be an error of the kit, such as one of `publish`. */
class AppFailure extends Error {}

/** https://developers.facebook.com/docs/graph-api/webhooks/getting-started#verification-requests */
function handshake({ verifyToken }: ResolvedProvider): RequestHandler {
  return (req, res) => {
    const query = queryOf(req)
    const challenge = query.get('hub.challenge') ?? ''
    const known = isSameSecret(query.get('hub.verify_token') ?? '', verifyToken)
    const sound = challenge !== '' && challenge.length <= MAX_CHALLENGE_LENGTH
    if (!known || !sound || query.get('hub.mode') !== 'subscribe') {
      sendProblem(res, new RequestError('ERR_SSE_VERIFY_TOKEN_INVALID', 'The verification request is not valid'))
      return
    }
    // Whatever is echoed must not be taken for a page.
    res.set({
      'Content-Type': 'text/plain; charset=utf-8',
      'X-Content-Type-Options': 'nosniff',
      'Cache-Control': 'no-store',
    })
    res.send(challenge)
  }
}

async function receive(
  provider: Provider,
  { secrets }: ResolvedProvider,
  { onMessage, failureLimit, clock }: ResolvedWebhooksOptions,
  deliverOnce: DeliverOnce,
  readBody: BodyReader,
  req: Request,
  res: Response,
): Promise<void> {
  // Node keeps the address once it was looked up. A client that leaves after its body must not count as another one.
  void req.socket.remoteAddress
  const body = await readBody(req, res)
  if (!isSigned(body, req.headers['x-hub-signature-256'], secrets)) {
    if (failureLimit !== undefined) await passed(failureLimit, req, res)
    throw new RequestError('ERR_SSE_SIGNATURE_INVALID', 'X-Hub-Signature-256 does not sign this body')
  }
  const messages = PARSERS[provider](parseJson(body), clock.wallTime())
  if (messages === undefined) {
    throw new RequestError('ERR_SSE_PAYLOAD_INVALID', `The body is no payload for ${provider}`)
  }
  let received = 0
  for (const message of messages) {
    const handle = async (): Promise<void> => {
      try {
        await onMessage(message)
      } catch (error) {
        // Without an Error at hand Express would go on to the next route.
        throw new AppFailure('', {
          cause: error instanceof Error ? error : new Error('onMessage failed', { cause: error }),
        })
      }
    }
    if (await deliverOnce.deliver(compositeKey('webhook', provider, message.messageId), handle)) received++
  }
  res.json({ received })
}

/** Resolves when a handler has passed the request on or answered it. */
function passed(handler: RequestHandler, req: Request, res: Response): Promise<void> {
  return new Promise((resolve, reject) => {
    res.once('close', resolve)
    void handler(req, res, (error?: unknown) => (error === undefined ? resolve() : reject(error)))
  })
}

type BodyReader = (req: Request, res: Response) => Promise<Buffer>

/** The bytes as they came. @throws SseError 413, 415, or 500 if a body parser has taken them */
function bodyReader(maxBodyBytes: number): BodyReader {
  const raw = express.raw({ type: () => true, limit: maxBodyBytes, inflate: false })
  return (req, res) =>
    new Promise((resolve, reject) => {
      raw(req, res, (error?: unknown) => {
        if (error !== undefined) reject(rawBodyError(error, maxBodyBytes))
        else if (Buffer.isBuffer(req.body)) resolve(req.body)
        else if (hasBody(req)) reject(rawBodyConsumed())
        else resolve(Buffer.alloc(0))
      })
    })
}

function hasBody(req: Request): boolean {
  return req.headers['transfer-encoding'] !== undefined || Number(req.headers['content-length'] ?? 0) > 0
}

/** What `express.raw` fails with. */
function rawBodyError(cause: unknown, maxBodyBytes: number): SseError {
  const type = (cause as { readonly type?: unknown }).type
  const consumed = type === 'stream.not.readable' || type === 'stream.encoding.set'
  return consumed ? rawBodyConsumed(cause) : bodyError(cause, maxBodyBytes)
}

function rawBodyConsumed(cause?: unknown): SseError {
  return new SseError(
    'ERR_SSE_RAW_BODY_CONSUMED',
    'A body parser has read the request, so the signed bytes are gone: mount webhooks() before express.json()',
    { cause },
  )
}

function parseJson(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString())
  } catch (cause) {
    throw new RequestError('ERR_SSE_PAYLOAD_INVALID', 'The body is not JSON', { cause })
  }
}

async function refuseMethod(req: Request): Promise<void> {
  throw new RequestError('ERR_SSE_METHOD_NOT_ALLOWED', `${req.method} is not for webhooks`, {
    headers: { Allow: 'GET, HEAD, POST' },
  })
}
