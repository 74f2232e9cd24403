import type { RequestHandler } from 'express'
import type { Clock } from '../../core/clock.js'
import { InvalidOptionError } from '../../core/errors.js'
import { systemClock } from '../../core/system-clock.js'
import { wholeNumber } from '../../core/validation.js'
import { givenRedis, type RedisSource } from '../../redis/source.js'
import { boundedStore } from '../../store/bounded.js'
import { createStore } from '../../store/create.js'
import type { KeyValueStore } from '../../store/store.js'
import { type InboundMessage, type InboundStatus, type InboundUnknown, PROVIDERS, type Provider } from './message.js'

/** Options of `webhooks`. */
export interface WebhooksOptions {
  /**
   * The app secret that signs the deliveries. Several: any of them may have signed, so that a secret can be replaced. By
   * provider: those left out are not served (404).
   */
  readonly secrets: string | readonly string[] | Readonly<Partial<Record<Provider, string | readonly string[]>>>
  /** The token you chose for the providers' verification handshake (`hub.verify_token`), for all or by provider. */
  readonly verifyToken: string | Readonly<Partial<Record<Provider, string>>>
  /**
   * Called once for every message, one after the other in the order of the payload. The provider gets its answer when it
   * is done, so it should take seconds at most. If it throws or rejects, or does not settle within `claimTtlMs`, the later parts of the
   * same conversation wait for the next delivery, those of other conversations are handled, and the first error goes to Express with
   * a status of 5xx, so that the provider delivers again what was not handled. Each error is on diagnostics (`webhookError`).
   */
  readonly onMessage: (message: InboundMessage) => void | Promise<void>
  /**
   * Called once for every status of a message that you sent (`sent`, `delivered`, `read`, `failed`), as `onMessage` is.
   * @defaultValue statuses are left out
   */
  readonly onStatus?: (status: InboundStatus) => void | Promise<void>
  /**
   * Called for every part of a delivery that is neither a message nor a status, raw: postbacks, reactions, other fields, what is not of
   * the documented form, and what is left out on purpose (`reason`). As `onMessage` if it fails. Once for the same delivery.
   * @defaultValue such parts are on diagnostics (`webhookUnknown`) alone, and the first of each kind is warned of
   */
  readonly onUnknown?: (unknown: InboundUnknown) => void | Promise<void>
  /**
   * Asked where a signature is wrong, before the 401: a `rateLimit({ by: 'ip', … })` answers 429 instead where an address has
   * failed too often. Whatever is signed well passes unasked: a provider's bursts come from few addresses. If it throws or rejects,
   * the error goes to Express, and if it neither answers nor passes the request on within 10 s, the answer is 503.
   * @defaultValue none
   */
  readonly failureLimit?: RequestHandler
  /** Where the processes of a fleet meet, to handle a message once. Left out or empty: each process remembers by itself. */
  readonly redis?: RedisSource | undefined
  /** A store to use instead of one of the router's own; it is not closed by the router. Its operations have 10 s. */
  readonly store?: KeyValueStore
  /** The largest body taken, in bytes; over it 413. @defaultValue 1_048_576 */
  readonly maxBodyBytes?: number
  /** How long a handled message is remembered, in ms. @defaultValue 86_400_000 (a day) */
  readonly dedupTtlMs?: number
  /**
   * How long a message may be handled, in ms: after that its handler is not waited for (`ERR_SSE_CALLBACK_TIMEOUT`), its process is
   * taken for dead, and a repeated delivery may be handled beside it.
   * @defaultValue 60_000
   */
  readonly claimTtlMs?: number
  /** For tests. @defaultValue the process's clock */
  readonly clock?: Clock
}

export interface ResolvedProvider {
  readonly secrets: readonly string[]
  readonly verifyToken: string
}

export interface ResolvedWebhooksOptions {
  /** Those that are served. */
  readonly providers: ReadonlyMap<Provider, ResolvedProvider>
  readonly onMessage: WebhooksOptions['onMessage']
  readonly onStatus: WebhooksOptions['onStatus']
  readonly onUnknown: WebhooksOptions['onUnknown']
  readonly failureLimit: RequestHandler | undefined
  readonly store: KeyValueStore
  readonly ownsStore: boolean
  readonly maxBodyBytes: number
  readonly dedupTtlMs: number
  readonly claimTtlMs: number
  readonly clock: Clock
}

/** @throws InvalidOptionError */
export function resolveWebhooksOptions(options: WebhooksOptions): ResolvedWebhooksOptions {
  const { onMessage, onStatus, onUnknown, failureLimit, clock = systemClock } = options
  const redis = givenRedis(options.redis)
  if (typeof onMessage !== 'function') throw new InvalidOptionError('onMessage must be a function')
  for (const [name, handler] of Object.entries({ onStatus, onUnknown })) {
    if (handler !== undefined && typeof handler !== 'function')
      throw new InvalidOptionError(`${name} must be a function`)
  }
  if (failureLimit !== undefined && typeof failureLimit !== 'function') {
    throw new InvalidOptionError('failureLimit must be a request handler, such as rateLimit() makes')
  }
  if (redis !== undefined && options.store !== undefined) {
    throw new InvalidOptionError('webhooks() takes either redis or store')
  }
  const checked = {
    providers: resolveProviders(options),
    maxBodyBytes: wholeNumber('maxBodyBytes', options.maxBodyBytes ?? 1_048_576, 1, 104_857_600),
    dedupTtlMs: wholeNumber('dedupTtlMs', options.dedupTtlMs ?? 86_400_000, 1),
    claimTtlMs: wholeNumber('claimTtlMs', options.claimTtlMs ?? 60_000, 1),
  }
  // Last, since it may open a connection, which nobody would close if a later check failed.
  const store = options.store === undefined ? createStore({ redis, clock }) : boundedStore(options.store, clock)
  const handlers = { onMessage, onStatus, onUnknown, failureLimit }
  return { ...checked, ...handlers, store, ownsStore: options.store === undefined, clock }
}

function resolveProviders({ secrets, verifyToken }: WebhooksOptions): ReadonlyMap<Provider, ResolvedProvider> {
  const providers = new Map<Provider, ResolvedProvider>()
  for (const provider of PROVIDERS) {
    const own = isPerProvider(secrets) ? secrets[provider] : secrets
    if (own === undefined) continue
    const list: readonly unknown[] = typeof own === 'string' ? [own] : own
    if (!Array.isArray(list) || list.length === 0 || !list.every(isFilled)) {
      throw new InvalidOptionError(`secrets: the app secret for ${provider} must be a non-empty string or several`)
    }
    const token = isPerProvider(verifyToken) ? verifyToken[provider] : verifyToken
    if (!isFilled(token)) throw new InvalidOptionError(`verifyToken for ${provider} must be a non-empty string`)
    providers.set(provider, { secrets: [...list], verifyToken: token })
  }
  if (providers.size === 0) throw new InvalidOptionError(`secrets must have one for any of ${PROVIDERS.join(', ')}`)
  return providers
}

function isPerProvider<T>(value: T): value is Exclude<T, string | readonly string[]> {
  return value !== null && typeof value === 'object' && !Array.isArray(value)
}

function isFilled(value: unknown): value is string {
  return typeof value === 'string' && value !== ''
}
