/**
 * Revoked tokens, users and tenants, for all processes on one store. Owns what is kept of a revocation and for how long, the
 * answers remembered here, and that streams end whose tokens are revoked.
 *
 * ```
 *   revoked:id:<jti>  revoked:user:<tenant>:<user>  revoked:tenant:<tenant>  ─►  when, in ms since 1970
 * ```
 */
import { systemClock } from '../core/clock.js'
import { compositeKey } from '../core/composite-key.js'
import { diagnostics } from '../core/diagnostics.js'
import { InvalidOptionError } from '../core/errors.js'
import { wholeNumber } from '../core/options.js'
import type { Auth, Clock, KeyValueStore } from '../core/ports.js'
import { RevocationWatch, type Watched } from './revocation-watch.js'

/** Keys asked for in one call. */
const BATCH = 1000
/** Answers remembered. Those remembered first make room. */
const MAX_REMEMBERED = 30_000

/** What is revoked: all tokens of a user within its tenant, all of a tenant, or the one with this `jti`. */
export type RevocationSelector = { readonly tenant: string; readonly user?: string } | { readonly tokenId: string }

/** A revocation that has taken effect. Plain JSON, to be told to other processes. */
export type Revocation = RevocationSelector & {
  /** In ms since 1970. Tokens of the user or tenant that were issued later are good. */
  readonly at: number
}

export interface RevocationsOptions {
  /** Where the processes of a fleet meet. A store in one process forgets with the process, and where it is full. */
  readonly store: KeyValueStore
  /**
   * How long a revocation is kept, in ms: at least as long as the longest-lived token, tolerance included, or a token
   * may outlive its revocation. @defaultValue 86_400_000 (a day)
   */
  readonly ttlMs?: number
  /**
   * How long an answer of the store may be used again, in ms: for so long a token that another process revoked may still be
   * taken here, unless that is heard of (see `Multiplexer`). 0: each request asks. @defaultValue 5000
   */
  readonly cacheMs?: number
  /**
   * How often the tokens of open streams are looked up, in ms: within it they end also if nobody told this process of the
   * revocation. @defaultValue 25_000
   */
  readonly checkMs?: number
  /** @defaultValue the process's clock */
  readonly clock?: Clock
}

interface Remembered {
  readonly at: number | undefined
  readonly until: number
}

export class Revocations {
  readonly #store: KeyValueStore
  readonly #ttlMs: number
  readonly #cacheMs: number
  readonly #clock: Clock
  readonly #remembered = new Map<string, Remembered>()
  readonly #watch: RevocationWatch
  /** Changes with each revocation heard of: answers asked for before are not remembered. */
  #generation = 0
  /** Tells the other processes. A multiplexer whose streams have these revocations sets it. */
  onRevoke: ((revocation: Revocation) => void) | undefined

  /** @internal Use `createRevocations`. */
  constructor({
    store,
    ttlMs = 86_400_000,
    cacheMs = 5000,
    checkMs = 25_000,
    clock = systemClock,
  }: RevocationsOptions) {
    if (typeof store?.get !== 'function') throw new InvalidOptionError('createRevocations needs a store')
    this.#store = store
    this.#ttlMs = wholeNumber('ttlMs', ttlMs, 1000)
    this.#cacheMs = wholeNumber('cacheMs', cacheMs, 0, 60_000)
    this.#clock = clock
    this.#watch = new RevocationWatch(wholeNumber('checkMs', checkMs, 100), clock, (auths) => this.#lookUp(auths))
  }

  /**
   * Revokes from now on, and ends the streams concerned: at once where it is heard of, within `checkMs` elsewhere. Tokens say in whole seconds when they were issued (`iat`), and those of the very second of the
   * revocation count as before it: a new one is good from the next second on. Tokens without `iat` are all refused.
   * @throws BrokerError where the store does not answer; then it may or may not have taken effect
   * @throws InvalidOptionError
   */
  async revoke(selector: RevocationSelector): Promise<void> {
    const key = keyOf(selector)
    const at = Math.floor(this.#clock.wallTime())
    await this.#store.set(key, String(at), this.#ttlMs)
    const revocation = { ...selector, at }
    this.hear(revocation)
    this.onRevoke?.(revocation)
  }

  /** @internal Another process has revoked. */
  hear(revocation: Revocation): void {
    this.#generation++
    this.#remembered.clear()
    const revokedAt = new Map([[keyOf(revocation), revocation.at]])
    this.#watch.end((auth) => isRevokedBy(revokedAt, auth))
  }

  /** @internal Ends the stream when its token is revoked. */
  watch(stream: Watched): void {
    if (stream.auth !== undefined) this.#watch.add(stream)
  }

  /** @internal Idempotent. */
  unwatch(stream: Watched): void {
    this.#watch.delete(stream)
  }

  /** @throws BrokerError where the store does not answer */
  async isRevoked(auth: Auth): Promise<boolean> {
    const keys = keysOf(auth)
    const now = this.#clock.now()
    const known = new Map<string, number | undefined>()
    for (const key of keys) {
      const remembered = this.#remembered.get(key)
      if (remembered !== undefined && remembered.until > now) known.set(key, remembered.at)
    }
    const unknown = keys.filter((key) => !known.has(key))
    if (unknown.length > 0) {
      const generation = this.#generation
      for (const [key, at] of await this.#ask(unknown)) {
        known.set(key, at)
        if (generation === this.#generation) this.#remember(key, { at, until: now + this.#cacheMs })
      }
    }
    return isRevokedBy(known, auth)
  }

  /**
   * Those that are revoked, asked of the store now: for many streams at a time. Keys that several share are asked for once, a
   * thousand in a call.
   * @throws BrokerError where the store does not answer
   */
  async revokedAmong<T extends Auth>(auths: Iterable<T>): Promise<Set<T>> {
    const all = [...auths]
    const keys = [...new Set(all.flatMap(keysOf))]
    const known = new Map<string, number | undefined>()
    for (let start = 0; start < keys.length; start += BATCH) {
      for (const [key, at] of await this.#ask(keys.slice(start, start + BATCH))) known.set(key, at)
    }
    return new Set(all.filter((auth) => isRevokedBy(known, auth)))
  }

  async #lookUp(auths: Set<Auth>): Promise<ReadonlySet<Auth>> {
    try {
      return await this.revokedAmong(auths)
    } catch (error) {
      // The next look will tell; requests are refused meanwhile, or not, as `onRevocationError` says.
      if (diagnostics.storeError.hasSubscribers) diagnostics.storeError.publish({ operation: 'revocations', error })
      return new Set()
    }
  }

  async #ask(keys: readonly string[]): Promise<readonly (readonly [key: string, at: number | undefined])[]> {
    const values = await this.#store.get(keys)
    return keys.map((key, index) => [key, values[index] === undefined ? undefined : Number(values[index])])
  }

  #remember(key: string, answer: Remembered): void {
    if (this.#cacheMs === 0) return
    this.#remembered.delete(key)
    this.#remembered.set(key, answer)
    if (this.#remembered.size <= MAX_REMEMBERED) return
    for (const oldest of this.#remembered.keys()) {
      this.#remembered.delete(oldest)
      break
    }
  }
}

/**
 * Revocations of tokens before they expire; give them to `authenticate()`.
 * @throws InvalidOptionError
 */
export function createRevocations(options: RevocationsOptions): Revocations {
  return new Revocations(options)
}

function isRevokedBy(revokedAt: ReadonlyMap<string, number | undefined>, auth: Auth): boolean {
  const { iat } = auth.claims
  return keysOf(auth).some((key) => {
    const at = revokedAt.get(key)
    if (at === undefined) return false
    return key.startsWith('revoked:id:') || typeof iat !== 'number' || iat * 1000 <= at
  })
}

function keysOf({ user, tenant, claims }: Auth): string[] {
  const keys = [keyOf({ tenant }), keyOf({ tenant, user })]
  if (typeof claims.jti === 'string' && claims.jti !== '') keys.push(keyOf({ tokenId: claims.jti }))
  return keys
}

function keyOf(selector: RevocationSelector): string {
  const parts = 'tokenId' in selector ? ['id', selector.tokenId] : ownerOf(selector)
  if (!parts.every((part) => typeof part === 'string' && part !== '')) {
    throw new InvalidOptionError('Revoke { tenant }, { tenant, user } or { tokenId }, each a non-empty string')
  }
  return compositeKey('revoked', ...parts)
}

/** A user that is there and undefined is a mistake, which must not revoke a whole tenant. */
function ownerOf(owner: { readonly tenant: string; readonly user?: string }): readonly string[] {
  return 'user' in owner ? ['user', owner.tenant, owner.user] : ['tenant', owner.tenant]
}
