/**
 * How fast streams may go: token buckets for the stream itself and for all that it shares with others. A stream that may not
 * go on waits with what it has; it is never closed for it.
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
import { createdBy } from '../../core/validation.js'
import { addressKey } from '../../http/address.js'
import type { Requester } from '../../http/requester.js'
import type { Rate, TokenBucket } from '../token-bucket.js'
import { BucketRegistry } from './bucket-registry.js'

/** Rates that suit a kind of page, in events. */
export const PACING_PRESETS = Object.freeze({
  dashboard: { capacity: 5, refillPerSecond: 10 },
  telemetry: { capacity: 50, refillPerSecond: 25 },
  chat: { capacity: 3, refillPerSecond: 2 },
  publicIp: { capacity: 60, refillPerSecond: 30 },
}) satisfies Readonly<Record<string, Rate>>

/** A key of `PACING_PRESETS`, usable in place of a rate. */
export type PacingPreset = keyof typeof PACING_PRESETS

/** What shares one bucket: the stream alone, its user or tenant, its address, its HTTP/2 session, or all streams. */
export type PacingScope = 'stream' | 'user' | 'tenant' | 'ip' | 'session' | 'global'

/** Rates by scope. A user counts within its tenant. A scope that a stream has no key for (no `req.auth`) does not pace it; all
 * streams without an address share one. */
export type PacingRates = { readonly [scope in PacingScope]?: Rate | PacingPreset }

const SCOPES: readonly PacingScope[] = ['stream', 'user', 'tenant', 'ip', 'session', 'global']

/** Token buckets that limit how fast streams send, shared by all streams with this object. Created by `createPacing`. */
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
        throw new InvalidOptionError(`pacing has no rate for ${scope} that could be changed`)
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

interface Held {
  readonly scope: PacingScope
  readonly registry: BucketRegistry
  readonly key: unknown
  readonly bucket: TokenBucket
}

/** One stream's share of the buckets. */
export class Pacer {
  /** Called when a rate has changed: a wait may be over. */
  onChange: (() => void) | undefined
  readonly #clock: Clock
  readonly #held: readonly Held[]
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
    const held: Held[] = []
    for (const [scope, registry] of scopes) {
      const key = keyOf(scope, requester, this)
      if (key !== undefined) held.push({ scope, registry, key, bucket: registry.acquire(key, clock.now()) })
    }
    this.#held = held
  }

  /**
   * Takes what the events cost from every bucket, or nothing from any. One event that costs more than a bucket's capacity
   * may go when that is full, and is paid off afterwards.
   */
  spend(events: number, bytes: number): boolean {
    if (this.msUntil(events, bytes) > 0) return false
    const now = this.#clock.now()
    for (const { bucket } of this.#held) bucket.spend(costOf(bucket, events, bytes), now)
    return true
  }

  /** How long the events would have to wait, if nobody else spends; 0: not at all. */
  msUntil(events: number, bytes: number): number {
    const now = this.#clock.now()
    let longest = 0
    for (const held of this.#held) longest = Math.max(longest, msUntil(held, events, bytes, now))
    return longest
  }

  /** Whose tokens the events would have to wait for longest. */
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

  /** Tokens in the bucket that has least. */
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
 * Pacing for streams: give it to `sseMiddleware`, `res.sse`, a multiplexer's `stream` options; streams that share it share
 * its buckets. `createPacing({ stream: 'dashboard', user: { capacity: 100, refillPerSecond: 50 } })`
 * @throws InvalidOptionError
 */
export function createPacing(
  rates: PacingRates,
  {
    clock = systemClock,
  }: {
    /** For tests. @defaultValue the system's clock */
    clock?: Clock
  } = {},
): Pacing {
  return new PacingBuckets(rates, clock)
}

/** The object behind an option. @throws InvalidOptionError unless `createPacing` created it */
export function pacingOption(value: Pacing): PacingBuckets {
  return createdBy('createPacing', 'pacing', value, PacingBuckets)
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
        `pacing.${name} must be { capacity ≥ 1, refillPerSecond > 0 } or one of ${Object.keys(PACING_PRESETS).join(', ')}`,
      )
    }
    if (cost !== 'event' && cost !== 'byte') throw new InvalidOptionError(`pacing.${name}.cost must be event or byte`)
    return [scope, { capacity: Number(capacity), refillPerSecond: Number(refillPerSecond), cost }] as const
  })
}

function msUntil({ bucket }: Held, events: number, bytes: number, now: number): number {
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
