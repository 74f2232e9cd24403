import type { RequestHandler } from 'express'
import type { Clock } from '../../core/clock.js'
import { InvalidOptionError } from '../../core/errors.js'
import { systemClock } from '../../core/system-clock.js'
import { wholeNumber } from '../../core/validation.js'
import type { RedisSource } from '../../redis/source.js'
import { storeOption } from '../../store/create.js'
import type { KeyValueStore } from '../../store/store.js'
import { type InboundMessage, type InboundStatus, type InboundUnknown, PROVIDERS, type Provider } from './message.js'

/** Options of `webhooks`. */
export interface WebhooksOptions {
  /**
   * The app secret that signs the deliveries: one for all providers, or an object with one for each provider. A list of
   * secrets accepts the signature of any of them, so that a secret can be replaced. A provider that is absent from the
   * object is not served (404).
   */
  readonly secrets: string | readonly string[] | Readonly<Partial<Record<Provider, string | readonly string[]>>>
  /**
   * The token that you chose for the verification handshake (`hub.verify_token`): one for all providers, or an object
   * with one for each provider.
   */
  readonly verifyToken: string | Readonly<Partial<Record<Provider, string>>>
  /**
   * Called once for every message, sequentially and in the order of the payload. The provider waits for the result, so
   * the function should take a few seconds at most.
   *
   * If it throws or rejects, or does not settle within `claimTtlMs`, later parts of the same conversation wait for the
   * next delivery, and parts of other conversations are handled. Then the first error is passed to Express without a
   * 4xx status, so that the answer is 5xx and the provider retries the parts that were not handled. Each error is
   * published to diagnostics (`webhookError`).
   */
  readonly onMessage: (message: InboundMessage) => void | Promise<void>
  /**
   * Called once for every status of a message that you sent (`sent`, `delivered`, `read`, `failed`). Order and failures
   * are as for `onMessage`.
   * @defaultValue statuses are ignored
   */
  readonly onStatus?: (status: InboundStatus) => void | Promise<void>
  /**
   * Called for every part of a delivery that is neither a message nor a status, with the raw object: postbacks,
   * reactions, other fields, malformed parts, and parts that the kit ignores on purpose (see `reason`). Called once if
   * the provider repeats the same delivery. Failures are as for `onMessage`.
   * @defaultValue such parts are published to diagnostics (`webhookUnknown`); without a subscriber the first of each
   * kind causes a process warning (`SSE_WEBHOOK_UNKNOWN`)
   */
  readonly onUnknown?: (unknown: InboundUnknown) => void | Promise<void>
  /**
   * Called for each delivery with a wrong signature, before the 401. A `rateLimit({ by: 'ip', … })` answers with 429
   * instead when an address has failed too often. It is not called for correct signatures, because a provider's bursts
   * come from few addresses. If it throws or rejects, the error is passed to Express. If it neither answers nor calls
   * `next` within 10 s, the answer is 503.
   * @defaultValue none
   */
  readonly failureLimit?: RequestHandler
  /**
   * The Redis on which processes record the handled messages, so that each is handled once. Absent or empty: each
   * process has its own record.
   */
  readonly redis?: RedisSource | undefined
  /**
   * A store to use instead of `redis`. The router does not close it. An operation that takes longer than 10 s counts as
   * failed.
   */
  readonly store?: KeyValueStore
  /**
   * The maximum size of a body, in bytes, at most 104,857,600. A larger body is answered with 413.
   * @defaultValue 1_048_576
   */
  readonly maxBodyBytes?: number
  /** How long handled messages are recorded, in ms, at least 1. @defaultValue 86_400_000 (a day) */
  readonly dedupTtlMs?: number
  /**
   * How long the handling of one message may take, in ms, at least 1. After that the delivery fails
   * (`ERR_SSE_CALLBACK_TIMEOUT`), and a repeated delivery may be handled while the first handler still runs. Also how
   * long a message is locked if its process dies.
   * @defaultValue 60_000
   */
  readonly claimTtlMs?: number
  /** The clock, for tests. @defaultValue the system clock */
  readonly clock?: Clock
}

export interface ResolvedProvider {
  readonly secrets: readonly string[]
  readonly verifyToken: string
}

export interface ResolvedWebhooksOptions {
  /** The providers that are served. */
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
  if (typeof onMessage !== 'function')
    throw new InvalidOptionError('webhooks() needs the option onMessage, a function (message) => void')
  for (const [name, handler] of Object.entries({ onStatus, onUnknown })) {
    if (handler !== undefined && typeof handler !== 'function')
      throw new InvalidOptionError(`${name} must be a function`)
  }
  if (failureLimit !== undefined && typeof failureLimit !== 'function') {
    throw new InvalidOptionError('failureLimit must be a request handler such as rateLimit(…)')
  }
  const checked = {
    providers: resolveProviders(options),
    maxBodyBytes: wholeNumber('maxBodyBytes', options.maxBodyBytes ?? 1_048_576, 1, 104_857_600),
    dedupTtlMs: wholeNumber('dedupTtlMs', options.dedupTtlMs ?? 86_400_000, 1),
    claimTtlMs: wholeNumber('claimTtlMs', options.claimTtlMs ?? 60_000, 1),
  }
  const store = storeOption('webhooks', options, clock)
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
      throw new InvalidOptionError(
        `secrets for ${provider} must be a non-empty string or a non-empty list of such strings`,
      )
    }
    const token = isPerProvider(verifyToken) ? verifyToken[provider] : verifyToken
    if (!isFilled(token)) throw new InvalidOptionError(`verifyToken for ${provider} must be a non-empty string`)
    providers.set(provider, { secrets: [...list], verifyToken: token })
  }
  if (providers.size === 0)
    throw new InvalidOptionError(`secrets must have a secret for at least one of ${PROVIDERS.join(', ')}`)
  return providers
}

function isPerProvider<T>(value: T): value is Exclude<T, string | readonly string[]> {
  return value !== null && typeof value === 'object' && !Array.isArray(value)
}

function isFilled(value: unknown): value is string {
  return typeof value === 'string' && value !== ''
}
