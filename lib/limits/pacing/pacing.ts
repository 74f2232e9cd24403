/**
 * How fast streams may send: token buckets of the stream itself and of everything that it shares with others. A stream
 * without tokens waits; pacing never closes it.
 *
 * ```
 *   spend ─► stream ┐
 *            user   │
 *            tenant ├─ all have enough ─► taken from each
 *            ip     │  one has not     ─► taken from none, and how long until it has
 *            session│
 *            global ┘
 * ```
 */

import type { Clock } from '../../core/clock.js'
import { compositeKey } from '../../core/composite-key.js'
import { InvalidOptionError } from '../../core/errors.js'
import { systemClock } from '../../core/system-clock.js'
import { madeBy } from '../../core/validation.js'
import { addressKey } from '../../http/address.js'
import type { Requester } from '../../http/requester.js'
import type { Rate, TokenBucket } from '../token-bucket.js'
import { BucketRegistry } from './bucket-registry.js'

/** Rates for some kinds of pages, in events. */
export const PACING_PRESETS = Object.freeze({
  dashboard: { capacity: 5, refillPerSecond: 10 },
  telemetry: { capacity: 50, refillPerSecond: 25 },
  chat: { capacity: 3, refillPerSecond: 2 },
  publicIp: { capacity: 60, refillPerSecond: 30 },
}) satisfies Readonly<Record<string, Rate>>

/** A key of `PACING_PRESETS`. It can be used instead of a rate. */
export type PacingPreset = keyof typeof PACING_PRESETS

/**
 * Which streams share a bucket: none (`stream`), those of a user, tenant, address or HTTP/2 session, or all (`global`).
 */
export type PacingScope = 'stream' | 'user' | 'tenant' | 'ip' | 'session' | 'global'

/**
 * Rates by scope. A user counts within its tenant. A scope without a key for a stream (no `req.auth`) does not pace it.
 * All streams without an address share one bucket.
 */
export type PacingRates = { readonly [scope in PacingScope]?: Rate | PacingPreset }

const SCOPES: readonly PacingScope[] = ['stream', 'user', 'tenant', 'ip', 'session', 'global']

/**
 * Token buckets that limit how fast streams send, shared by all streams with this object. Created by `createPacing`.
 */
export interface Pacing {
  /** The number of buckets in memory. */
  readonly size: number

  /**
   * Changes rates while streams are open. Streams that wait for tokens use the new rate at once.
   * @throws InvalidOptionError for a rate that is not valid, and for a scope that has had no rate
   */
  configure(rates: PacingRates): void
}

export class PacingBuckets implements Pacing {
  readonly #clock: Clock
  readonly #scopes = new Map<PacingScope, BucketRegistry>()
  readonly #pacers = new Set<Pacer>()

  /** @throws InvalidOptionError */
  constructor(rates: PacingRates, clock: Clock) {
    this.#clock = clock
    for (const [scope, rate] of checked(rates)) this.#scopes.set(scope, new BucketRegistry(rate))
  }

  get size(): number {
    let size = 0
    for (const registry of this.#scopes.values()) size += registry.size
    return size
  }

  configure(rates: PacingRates): void {
    const changes = checked(rates)
    for (const [scope] of changes) {
      if (!this.#scopes.has(scope))
        throw new InvalidOptionError(
          `pacing has no rate for ${scope}. Rates can be changed only for scopes that createPacing() got.`,
        )
    }
    const now = this.#clock.now()
    for (const [scope, rate] of changes) this.#scopes.get(scope)?.configure(rate, now)
    for (const pacer of this.#pacers) pacer.onChange?.()
  }

  /** Opens the buckets of one stream. */
  open(requester: Requester): Pacer {
    const pacer = new Pacer(this.#scopes, requester, this.#clock, () => this.#pacers.delete(pacer))
    this.#pacers.add(pacer)
    return pacer
  }
}

interface HeldBucket {
  readonly scope: PacingScope
  readonly registry: BucketRegistry
  readonly key: unknown
  readonly bucket: TokenBucket
}

/** The buckets of one stream. */
export class Pacer {
  /** Called when a rate was changed, because a wait may have ended. */
  onChange: (() => void) | undefined
  readonly #clock: Clock
  readonly #held: readonly HeldBucket[]
  readonly #onClose: () => void
  #closed = false

  constructor(
    scopes: ReadonlyMap<PacingScope, BucketRegistry>,
    requester: Requester,
    clock: Clock,
    onClose: () => void,
  ) {
    this.#clock = clock
    this.#onClose = onClose
    const held: HeldBucket[] = []
    for (const [scope, registry] of scopes) {
      const key = keyOf(scope, requester, this)
      if (key !== undefined) held.push({ scope, registry, key, bucket: registry.acquire(key, clock.now()) })
    }
    this.#held = held
  }

  /**
   * Spends the cost in every bucket, or in none. A single event that costs more than the capacity of a bucket is sent
   * when the bucket is full, and makes its tokens negative.
   */
  spend(events: number, bytes: number): boolean {
    if (this.msUntil(events, bytes) > 0) return false
    const now = this.#clock.now()
    for (const { bucket } of this.#held) bucket.spend(costOf(bucket, events, bytes), now)
    return true
  }

  /** How long the events must wait if nothing else is spent, in ms. 0: not at all. */
  msUntil(events: number, bytes: number): number {
    const now = this.#clock.now()
    let longest = 0
    for (const held of this.#held) longest = Math.max(longest, msUntil(held, events, bytes, now))
    return longest
  }

  /** The scope that the events must wait for longest. */
  scarcest(events: number, bytes: number): PacingScope | undefined {
    const now = this.#clock.now()
    let longest = 0
    let scarcest: PacingScope | undefined
    for (const held of this.#held) {
      const ms = msUntil(held, events, bytes, now)
      if (ms > longest) {
        longest = ms
        scarcest = held.scope
      }
    }
    return scarcest
  }

  /** The tokens of the bucket that has the fewest. */
  tokens(): number {
    const now = this.#clock.now()
    return Math.min(...this.#held.map(({ bucket }) => bucket.tokens(now)))
  }

  /** Idempotent. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    const now = this.#clock.now()
    for (const { registry, key } of this.#held) registry.release(key, now)
    this.#onClose()
  }
}

/**
 * Creates pacing for streams: pass it to `sseMiddleware`, to `res.sse` or as `stream.pacing` of a multiplexer. Streams
 * with the same object share its buckets. `createPacing({ stream: 'dashboard', user: { capacity: 100, refillPerSecond:
 * 50 } })`
 * @throws InvalidOptionError
 */
export function createPacing(
  rates: PacingRates,
  {
    clock = systemClock,
  }: {
    /** For tests. @defaultValue the clock of the process */
    clock?: Clock
  } = {},
): Pacing {
  return new PacingBuckets(rates, clock)
}

/** The object behind an option. @throws InvalidOptionError unless `createPacing` created it */
export function pacingOption(value: Pacing): PacingBuckets {
  return madeBy('createPacing', 'pacing', value, PacingBuckets)
}

function checked(rates: PacingRates): readonly (readonly [PacingScope, Rate])[] {
  return Object.entries(rates).map(([name, given]) => {
    const scope = SCOPES.find((candidate) => candidate === name)
    if (scope === undefined) throw new InvalidOptionError(`pacing has the scopes ${SCOPES.join(', ')}, got ${name}`)
    const rate: Rate | undefined = typeof given === 'string' ? PACING_PRESETS[given] : given
    const { capacity, refillPerSecond, cost = 'event' } = rate ?? {}
    if (
      !(Number(capacity) >= 1) ||
      !(Number(refillPerSecond) > 0) ||
      !Number.isFinite(Number(capacity)) ||
      !Number.isFinite(Number(refillPerSecond))
    ) {
      throw new InvalidOptionError(
        `pacing.${name} must be { capacity ≥ 1, refillPerSecond > 0 }, ` +
          `or one of ${Object.keys(PACING_PRESETS).join(', ')}`,
      )
    }
    if (cost !== 'event' && cost !== 'byte') throw new InvalidOptionError(`pacing.${name}.cost must be event or byte`)
    return [scope, { capacity: Number(capacity), refillPerSecond: Number(refillPerSecond), cost }] as const
  })
}

function msUntil({ bucket }: HeldBucket, events: number, bytes: number, now: number): number {
  const cost = costOf(bucket, events, bytes)
  return bucket.msUntil(events === 1 ? Math.min(cost, bucket.rate.capacity) : cost, now)
}

function costOf(bucket: TokenBucket, events: number, bytes: number): number {
  return bucket.rate.cost === 'byte' ? bytes : events
}

function keyOf(scope: PacingScope, requester: Requester, stream: object): unknown {
  switch (scope) {
    case 'stream':
      return stream
    case 'user':
      return requester.auth && compositeKey(requester.auth.tenant, requester.auth.user)
    case 'tenant':
      return requester.auth?.tenant
    case 'ip':
      return addressKey(requester.ip)
    case 'session':
      return requester.session
    case 'global':
      return 'global'
  }
}
