/**
 * provider ─► **router** (handshake, raw bytes, signature) ─► payload ─► deliver once ─► onMessage. Owns the HTTP side
 * of the webhooks. Must not know the structure of a payload.
 */
import { createHash, createHmac, timingSafeEqual } from 'node:crypto'
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
import { parseWhatsApp } from './whatsapp.js'

/** The router that `webhooks` returns. */
export type WebhooksRouter = Router & {
  /** Closes the store, unless the application gave it as `store`. Idempotent. */
  close(): Promise<void>
}

const PARSERS: Readonly<Record<Provider, PayloadParser>> = Object.freeze({
  whatsapp: parseWhatsApp,
  messenger: parseMessenger,
  instagram: parseInstagram,
})

const MAX_CHALLENGE_LENGTH = 1024
const SIGNATURE = /^sha256=([0-9a-f]{64})$/i

/**
 * Creates a router with `GET` (verification handshake) and `POST` (deliveries) of `/whatsapp`, `/messenger` and
 * `/instagram`, as Meta calls them. Mount it before body parsers, because the signature is over the raw bytes. If a
 * platform has parsed the body already, the bytes are read from `req.rawBody` (Buffer or string).
 * @throws InvalidOptionError if an option is missing or out of range, or if both `redis` and `store` are given
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
    const isTokenValid = isSameSecret(query.get('hub.verify_token') ?? '', verifyToken)
    const isChallengeValid = challenge !== '' && challenge.length <= MAX_CHALLENGE_LENGTH
    if (!isTokenValid || !isChallengeValid || query.get('hub.mode') !== 'subscribe') {
      sendProblem(
        res,
        new RequestError(
          'ERR_SSE_VERIFY_TOKEN_INVALID',
          'The verification request is invalid: check hub.mode, hub.verify_token and hub.challenge',
        ),
      )
      return
    }
    // A browser must not interpret the echoed text as a page.
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
  // Node caches the address on the first read. After a disconnect it would be unknown, and the failure not counted.
  void req.socket.remoteAddress
  const body = await signedBytes(req, res, options.maxBodyBytes)
  if (!isSigned(body, req.headers['x-hub-signature-256'], config.secrets)) {
    const { failureLimit } = options
    if (failureLimit !== undefined) await limitFailure(failureLimit, options, req, res)
    throw new RequestError(
      'ERR_SSE_SIGNATURE_INVALID',
      'X-Hub-Signature-256 is missing or is not a valid signature of the body',
    )
  }
  const parts = PARSERS[provider](parseJson(body), options.clock.wallTime())
  if (parts === undefined) {
    throw new RequestError('ERR_SSE_PAYLOAD_INVALID', `The body is not a webhook payload of ${provider}`)
  }
  const digest = createHash('sha256').update(body).digest('base64url')
  const received = await deliverParts(parts, digest, options, deliverOnce)
  return (answer) => void answer.json({ received })
}

/**
 * Returns whether `X-Hub-Signature-256` is the HMAC of exactly these bytes under one of the secrets. The time does not
 * depend on which secret matches, or on where the first difference is.
 */
function isSigned(body: Buffer, header: unknown, secrets: readonly string[]): boolean {
  const hex = typeof header === 'string' ? SIGNATURE.exec(header)?.[1] : undefined
  if (hex === undefined) return false
  const given = Buffer.from(hex, 'hex')
  let signed = false
  for (const secret of secrets) {
    if (timingSafeEqual(createHmac('sha256', secret).update(body).digest(), given)) signed = true
  }
  return signed
}

/** Compares two strings of any length. The time reveals neither where they differ nor whether their lengths do. */
function isSameSecret(given: string, expected: string): boolean {
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest()
  return timingSafeEqual(digest(given), digest(expected))
}

/** @throws AppFailure if the application's `failureLimit` fails, or neither answers nor calls `next` in time */
function limitFailure(handler: RequestHandler, { clock }: ResolvedWebhooksOptions, req: Request, res: Response) {
  const bounds = { clock, timeoutMs: CALLBACK_TIMEOUT_MS }
  return settle('failureLimit', () => callHandler(handler, req, res), bounds).catch((error: unknown) => {
    throw new AppFailure('failureLimit', error)
  })
}

/** Returns the bytes as they arrived. @throws SseError 413, 415, or 500 if a body parser has consumed them */
async function signedBytes(req: Request, res: Response, maxBodyBytes: number): Promise<Buffer> {
  const body = rawBodyOf(req) ?? (await readBody(req, new Exchange(req, res), maxBodyBytes)) ?? parsedBody(req)
  if (body.length > maxBodyBytes) throw tooLarge(maxBodyBytes)
  return body
}

/** Returns the raw bytes that some platforms keep when they parse a body. */
function rawBodyOf(req: Request): Buffer | undefined {
  const { rawBody } = req as { readonly rawBody?: unknown }
  if (typeof rawBody === 'string') return Buffer.from(rawBody)
  return rawBody instanceof Uint8Array ? Buffer.from(rawBody.buffer, rawBody.byteOffset, rawBody.byteLength) : undefined
}

/** Returns the result of `express.raw()`. @throws SseError if another body parser has consumed the bytes */
function parsedBody({ body }: Request): Buffer {
  if (Buffer.isBuffer(body)) return body
  throw new SseError(
    'ERR_SSE_RAW_BODY_CONSUMED',
    'A body parser consumed the signed bytes. Mount webhooks() before express.json(), or keep them in req.rawBody',
  )
}

async function refuseMethod(req: Request): Promise<never> {
  throw new RequestError('ERR_SSE_METHOD_NOT_ALLOWED', `Webhooks take GET, HEAD and POST, got ${req.method}`, {
    headers: { Allow: 'GET, HEAD, POST' },
  })
}
