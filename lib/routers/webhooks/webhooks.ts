/**
 * provider ─► **router** (handshake, raw bytes, signature) ─► payload ─► deliver once ─► onMessage. Owns the HTTP side
 * of the webhooks; must not know what a payload looks like inside.
 */
import { createHash } from 'node:crypto'
import express, { type Request, type RequestHandler, type Response, type Router } from 'express'
import { CALLBACK_TIMEOUT_MS, settle } from '../../core/callbacks.js'
import { RequestError, SseError } from '../../core/errors.js'
import { type Answer, AppFailure, answering, callHandler } from '../../http/answering.js'
import { parseJson, readBody, tooLarge } from '../../http/body.js'
import { Exchange } from '../../http/exchange.js'
import { sendProblem } from '../../http/problem.js'
import { queryOf } from '../../http/query.js'
import { DeliverOnce } from './deliver-once.js'
import { deliverParts } from './delivery.js'
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

/** The router that `webhooks` returns. */
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
 * signature is over the raw bytes. Where a platform has parsed the body already, they are taken from `req.rawBody` (Buffer or string).
 * @throws InvalidOptionError
 */
export function webhooks(options: WebhooksOptions): WebhooksRouter {
  const resolved = resolveWebhooksOptions(options)
  const deliverOnce = new DeliverOnce(resolved)
  const router = express.Router()
  for (const [provider, config] of resolved.providers) {
    router
      .route(`/${provider}`)
      .get(handshake(config))
      .post(answering((req, res) => receive({ provider, config, options: resolved, deliverOnce }, req, res)))
      .all(answering(refuseMethod))
  }
  const close = async (): Promise<void> => {
    await deliverOnce.close()
    if (resolved.ownsStore) await resolved.store.close()
  }
  return Object.assign(router, { close })
}

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

interface Route {
  readonly provider: Provider
  readonly config: ResolvedProvider
  readonly options: ResolvedWebhooksOptions
  readonly deliverOnce: DeliverOnce
}

async function receive(
  { provider, config, options, deliverOnce }: Route,
  req: Request,
  res: Response,
): Promise<Answer> {
  // Node keeps the address once it was looked up. A client that leaves after its body must not count as another one.
  void req.socket.remoteAddress
  const body = await signedBytes(req, res, options.maxBodyBytes)
  if (!isSigned(body, req.headers['x-hub-signature-256'], config.secrets)) {
    const { failureLimit } = options
    if (failureLimit !== undefined) await limitFailure(failureLimit, options, req, res)
    throw new RequestError('ERR_SSE_SIGNATURE_INVALID', 'X-Hub-Signature-256 does not sign this body')
  }
  const parts = PARSERS[provider](parseJson(body), options.clock.wallTime())
  if (parts === undefined) {
    throw new RequestError('ERR_SSE_PAYLOAD_INVALID', `The body is not a payload for ${provider}`)
  }
  const digest = createHash('sha256').update(body).digest('base64url')
  const received = await deliverParts(parts, digest, options, deliverOnce)
  return (answer) => void answer.json({ received })
}

/** @throws AppFailure if the application's limit fails, or neither passes the request on nor answers it in time */
function limitFailure(handler: RequestHandler, { clock }: ResolvedWebhooksOptions, req: Request, res: Response) {
  const bounds = { clock, timeoutMs: CALLBACK_TIMEOUT_MS }
  return settle('failureLimit', () => callHandler(handler, req, res), bounds).catch((error: unknown) => {
    throw new AppFailure('failureLimit', error)
  })
}

/** The bytes as they came. @throws SseError 413, 415, or 500 if a body parser has taken them */
async function signedBytes(req: Request, res: Response, maxBodyBytes: number): Promise<Buffer> {
  const body = keptBody(req) ?? (await readBody(req, new Exchange(req, res), maxBodyBytes)) ?? parsedBody(req)
  if (body.length > maxBodyBytes) throw tooLarge(maxBodyBytes)
  return body
}

/** What platforms that parse bodies themselves keep of one. */
function keptBody(req: Request): Buffer | undefined {
  const { rawBody } = req as { readonly rawBody?: unknown }
  if (typeof rawBody === 'string') return Buffer.from(rawBody)
  return rawBody instanceof Uint8Array ? Buffer.from(rawBody.buffer, rawBody.byteOffset, rawBody.byteLength) : undefined
}

/** What a parser has made of it. @throws SseError */
function parsedBody({ body }: Request): Buffer {
  if (Buffer.isBuffer(body)) return body
  throw new SseError(
    'ERR_SSE_RAW_BODY_CONSUMED',
    'A body parser has read the request, so the signed bytes are gone: mount webhooks() before express.json(), or keep them in req.rawBody',
  )
}

async function refuseMethod(req: Request): Promise<never> {
  throw new RequestError('ERR_SSE_METHOD_NOT_ALLOWED', `${req.method} is not for webhooks`, {
    headers: { Allow: 'GET, HEAD, POST' },
  })
}
