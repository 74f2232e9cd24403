/**
 * Revocations of tokens, users and tenants for all processes on one store. Owns the entries in the store and their life
 * time, the cache of the store's answers, and the end of streams whose tokens are revoked.
 *
 * ```
 *   revoked:id:<jti>  revoked:user:<tenant>:<user>  revoked:tenant:<tenant>  ─►  time of the revocation, ms since 1970
 * ```
 *
 * Revocations that this process has made or was notified of are also kept in memory. A request or stream that was
 * authenticated earlier is checked against them when it begins (`assertNotRevoked`), without a call to the store, and
 * they are restored in a store that has lost its data.
 */

import type { Auth } from '../core/auth.js'
import { BoundedMap } from '../core/bounded-map.js'
import { Listeners, runDetached } from '../core/callbacks.js'
import type { Clock } from '../core/clock.js'
import { compositeKey } from '../core/composite-key.js'
import { diagnostics, reportTo } from '../core/diagnostics.js'
import { InvalidOptionError } from '../core/errors.js'
import { systemClock } from '../core/system-clock.js'
import { madeBy, wholeNumber } from '../core/validation.js'
import { boundedStore } from '../store/bounded.js'
import type { KeyValueStore } from '../store/store.js'
import { KnownRevocations } from './known-revocations.js'
import { tokenRevoked } from './refusals.js'
import { type RevocableStream, RevocationWatch } from './revocation-watch.js'

/** Keys that are read in one call. */
const BATCH = 1000
/** Answers in the cache. The oldest are evicted. */
const MAX_CACHED = 30_000

/**
 * What is revoked: all tokens and sessions of a user within its tenant, all of a tenant, or one by its `jti` or session
 * `id`.
 */
export type RevocationSelector =
  | {
      /** The tenant: all of its users, unless `user` is given. */
      readonly tenant: string
      /** One user of the tenant. */
      readonly user?: string
    }
  | {
      /** The `jti` of a token, or the `id` of a session. */
      readonly tokenId: string
    }

/** A revocation that has taken effect. It is plain JSON, to be sent to other processes. */
export type Revocation = RevocationSelector & {
  /**
   * When it was revoked, plus `clockToleranceMs`, in ms since 1970. Tokens of the user or tenant that were issued later
   * are valid.
   */
  readonly at: number
}

/** Options of `createRevocations`. */
export interface RevocationsOptions {
  /**
   * The store that all processes share. The embedded store loses revocations when the process ends and when it is full.
   */
  readonly store: KeyValueStore
  /**
   * How long a revocation is kept, in ms, from 1000. It must be at least the longest life time of a token plus the
   * tolerance, otherwise a token may be accepted again. @defaultValue 86_400_000 (a day)
   */
  readonly ttlMs?: number
  /**
   * How far the clocks of issuers and processes may differ, in ms. Tokens that were issued up to so long after a
   * revocation of their user or tenant are refused too, so a user who signs in again is refused for that long. 0: all
   * clocks agree. @defaultValue 5000
   */
  readonly clockToleranceMs?: number
  /**
   * How long an answer of the store is cached, in ms, at most 60,000. A token that another process revoked may be
   * accepted for so long, unless this process is notified (see `Multiplexer`). 0: each request reads the store.
   * @defaultValue 5000
   */
  readonly cacheMs?: number
  /**
   * How often the tokens of open streams are looked up, in ms, from 100. Their streams end within this time even if
   * this process was not notified of a revocation. @defaultValue 25_000
   */
  readonly checkMs?: number
  /** For tests. @defaultValue the clock of the process */
  readonly clock?: Clock
}

interface CachedTime {
  readonly at: number | undefined
  readonly until: number
}

/** Revokes tokens, users and tenants for all processes on one store. Created by `createRevocations`. */
export interface Revocations {
  /**
   * Revokes all tokens that were issued before now, and ends the streams and waiting polls concerned: at once in every
   * process that is notified, within `checkMs` in the others. Tokens that were issued later than `clockToleranceMs`
   * from now are valid. Tokens without a valid `iat`, and those whose `iat` is in the future, are refused as long as
   * the revocation is kept.
   * @throws BrokerError if the store does not answer; then the revocation may or may not have taken effect
   * @throws InvalidOptionError
   */
  revoke(selector: RevocationSelector): Promise<void>

  /**
   * Calls `listener` with each revocation made by this object, for example to notify other processes. Its errors are
   * published to diagnostics (`callbackError`).
   * @returns removes the listener
   */
  onRevoke(listener: (revocation: Revocation) => void): () => void

  /** Whether a token or session is revoked. @throws BrokerError if the store does not answer */
  isRevoked(auth: Auth): Promise<boolean>

  /**
   * Which of these tokens and sessions are revoked. It asks the store, not the cache; 1000 keys in a call.
   * @throws BrokerError if the store does not answer
   */
  revokedAmong<T extends Auth>(auths: Iterable<T>): Promise<Set<T>>
}

export class StoreRevocations implements Revocations {
  readonly #store: KeyValueStore
  readonly #ttlMs: number
  readonly #cacheMs: number
  readonly #clock: Clock
  readonly #cache = new BoundedMap<string, CachedTime>(MAX_CACHED)
  readonly #watch: RevocationWatch
  readonly #known: KnownRevocations
  readonly #listeners = new Listeners<Revocation>()
  readonly #toleranceMs: number
  readonly #checkMs: number
  /** When to check next whether the store has lost revocations, by the monotonic clock. */
  #restoresAt = 0
  /** Changes with each revocation. An answer of the store that was requested before is not cached. */
  #generation = 0

  constructor({
    store,
    ttlMs = 86_400_000,
    clockToleranceMs = 5000,
    cacheMs = 5000,
    checkMs = 25_000,
    clock = systemClock,
  }: RevocationsOptions) {
    if (typeof store?.get !== 'function')
      throw new InvalidOptionError('createRevocations() needs a store; see createStore()')
    this.#store = boundedStore(store, clock)
    this.#ttlMs = wholeNumber('ttlMs', ttlMs, 1000)
    this.#cacheMs = wholeNumber('cacheMs', cacheMs, 0, 60_000)
    this.#toleranceMs = wholeNumber('clockToleranceMs', clockToleranceMs, 0, 3_600_000)
    this.#clock = clock
    this.#known = new KnownRevocations(this.#store, this.#ttlMs, clock)
    this.#checkMs = wholeNumber('checkMs', checkMs, 100)
    this.#watch = new RevocationWatch(this.#checkMs, clock, (auths) => this.#lookUp(auths))
  }

  async revoke(selector: RevocationSelector): Promise<void> {
    const key = keyOf(selector)
    const at = Math.floor(this.#clock.wallTime()) + this.#toleranceMs
    await this.#store.set(key, String(at), this.#ttlMs)
    const revocation = { ...selector, at }
    this.apply(revocation)
    this.#listeners.notify(revocation)
  }

  onRevoke(listener: (revocation: Revocation) => void): () => void {
    return this.#listeners.add((revocation) => runDetached(() => listener(revocation), reportListener))
  }

  /** Applies a revocation of another process. @throws InvalidOptionError if the value is not a revocation */
  apply(revocation: Revocation): void {
    const key = keyOf(revocation)
    const at = wholeNumber('at', revocation.at, 0)
    this.#generation++
    this.#cache.clear()
    this.#known.add(key, at)
    this.#watch.endRevoked((auth) => this.#isKnownRevoked(auth))
  }

  /**
   * Checks again, without a call to the store, when a stream or poll begins: its request was authenticated earlier.
   * Call `watch` in the same turn of the event loop, so that no revocation is missed in between.
   * @throws RequestError `ERR_SSE_TOKEN_REVOKED`
   */
  assertNotRevoked(auth: Auth | undefined): void {
    if (auth !== undefined && this.#isKnownRevoked(auth)) throw tokenRevoked()
  }

  /** Ends the stream when its token is revoked. */
  watch(stream: RevocableStream): void {
    if (stream.auth !== undefined) this.#watch.add(stream)
  }

  /** Idempotent. */
  unwatch(stream: RevocableStream): void {
    this.#watch.delete(stream)
  }

  async isRevoked(auth: Auth): Promise<boolean> {
    if (this.#isKnownRevoked(auth)) {
      this.#restoreIfDue()
      return true
    }
    const keys = keysOf(auth)
    const now = this.#clock.now()
    const known = new Map<string, number | undefined>()
    for (const key of keys) {
      const remembered = this.#cache.get(key)
      if (remembered !== undefined && remembered.until > now) known.set(key, remembered.at)
    }
    const unknown = keys.filter((key) => !known.has(key))
    if (unknown.length > 0) {
      const generation = this.#generation
      for (const [key, at] of await this.#read(unknown)) {
        known.set(key, at)
        if (generation === this.#generation) this.#cacheAnswer(key, { at, until: now + this.#cacheMs })
      }
    }
    // Checked again, because a revocation may have arrived while the store was read.
    return isRevokedBy((key) => known.get(key), auth, this.#clock.wallTime()) || this.#isKnownRevoked(auth)
  }

  async revokedAmong<T extends Auth>(auths: Iterable<T>): Promise<Set<T>> {
    const all = [...auths]
    const keys = [...new Set(all.flatMap(keysOf))]
    const known = new Map<string, number | undefined>()
    for (let start = 0; start < keys.length; start += BATCH) {
      for (const [key, at] of await this.#read(keys.slice(start, start + BATCH))) known.set(key, at)
    }
    const now = this.#clock.wallTime()
    return new Set(all.filter((auth) => isRevokedBy((key) => known.get(key), auth, now) || this.#isKnownRevoked(auth)))
  }

  #isKnownRevoked(auth: Auth): boolean {
    return this.#known.size > 0 && isRevokedBy((key) => this.#known.get(key), auth, this.#clock.wallTime())
  }

  async #lookUp(auths: Set<Auth>): Promise<ReadonlySet<Auth>> {
    this.#restoreIfDue()
    try {
      return await this.revokedAmong(auths)
    } catch (error) {
      // The next check reads the store again. Until then `onRevocationError` decides.
      reportTo(diagnostics.storeError, 'revocations', error)
      return new Set()
    }
  }

  /** In the background, because the answer here does not depend on it. */
  #restoreIfDue(): void {
    const now = this.#clock.now()
    if (this.#known.size === 0 || now < this.#restoresAt) return
    this.#restoresAt = now + this.#checkMs
    this.#known.restore().catch((error: unknown) => {
      this.#restoresAt = 0
      reportTo(diagnostics.storeError, 'revocations', error)
    })
  }

  async #read(keys: readonly string[]): Promise<readonly (readonly [key: string, at: number | undefined])[]> {
    const values = await this.#store.get(keys)
    return keys.map((key, index) => [key, timeOf(values[index])])
  }

  #cacheAnswer(key: string, answer: CachedTime): void {
    if (this.#cacheMs > 0) this.#cache.set(key, answer)
  }
}

/**
 * Revocations of tokens before they expire; give them to `authenticate()`.
 * @throws InvalidOptionError
 */
export function createRevocations(options: RevocationsOptions): Revocations {
  return new StoreRevocations(options)
}

/** The object behind an option. @throws InvalidOptionError unless `createRevocations` created it */
export function revocationsOption(value: Revocations): StoreRevocations {
  return madeBy('createRevocations', 'revocations', value, StoreRevocations)
}

/** The revocation has taken effect here, so the caller must not get this error. */
function reportListener(error: unknown): void {
  reportTo(diagnostics.callbackError, 'onRevoke', error)
}

/**
 * The time in an entry. An entry that is not a time was not written by the kit; it revokes everything it applies to.
 */
function timeOf(value: string | undefined): number | undefined {
  if (value === undefined) return undefined
  return /^\d{1,16}$/.test(value) ? Number(value) : Number.POSITIVE_INFINITY
}

/** @param now in ms since 1970 */
function isRevokedBy(revokedAt: (key: string) => number | undefined, auth: Auth, now: number): boolean {
  let issuedAt: number | undefined
  return keysOf(auth).some((key) => {
    const at = revokedAt(key)
    if (at === undefined) return false
    if (key.startsWith('revoked:id:')) return true
    issuedAt ??= issueTimeOf(auth)
    // An `iat` in the future was set by a clock that cannot be compared with this one.
    return !(issuedAt > at && issuedAt <= now)
  })
}

/** Times in seconds are below it for 3,000 years, times in ms above it since 1973. */
const LEAST_MS = 100_000_000_000

/** In ms since 1970. NaN: unknown. */
function issueTimeOf({ issuedAt, claims: { iat } }: Auth): number {
  if (issuedAt !== undefined) return issuedAt
  if (typeof iat !== 'number') return Number.NaN
  return Math.abs(iat) < LEAST_MS ? iat * 1000 : iat
}

function keysOf({ user, tenant, id, claims }: Auth): string[] {
  const keys = [keyOf({ tenant }), keyOf({ tenant, user })]
  const { jti } = claims
  // Some issuers use integers as token ids.
  const tokenId = id ?? (Number.isSafeInteger(jti) ? String(jti) : jti)
  if (typeof tokenId === 'string' && tokenId !== '') keys.push(keyOf({ tokenId }))
  return keys
}

function keyOf(selector: RevocationSelector): string {
  const parts = 'tokenId' in selector ? ['id', selector.tokenId] : ownerOf(selector)
  if (!parts.every((part) => typeof part === 'string' && part !== '')) {
    throw new InvalidOptionError(
      'A revocation must be { tenant }, { tenant, user } or { tokenId }, each a non-empty string',
    )
  }
  return compositeKey('revoked', ...parts)
}

/** `user: undefined` is a mistake and must not revoke the tenant. */
function ownerOf(owner: { readonly tenant: string; readonly user?: string }): readonly string[] {
  return 'user' in owner ? ['user', owner.tenant, owner.user] : ['tenant', owner.tenant]
}
