import { randomBytes } from 'node:crypto'
import { compositeKey } from '../../core/composite-key.js'
import type { Account, AccountContext } from './account.js'
import { BucketAccount } from './bucket-account.js'
import { LocalUse } from './local-use.js'
import type { Message } from './scripts.js'
import { WindowAccount } from './window-account.js'

/** Keys kept at most for one limit; above it the oldest go. */
const MAX_KEYS = 100_000
/** Those that wait for Redis may not go; so many are passed over, then one more is kept. */
const PASSED_OVER = 100

/**
 * The accounts of one limit, by key. Kept while something would be lost with them: until their window has turned, or their bucket
 * is full. So what is kept is bounded by the keys of one window, and by `MAX_KEYS`.
 */
export class Accounts {
  readonly #context: AccountContext
  readonly #byKey = new Map<string, Account>()
  /** Those of keys that may have several accounts, each under other points. */
  readonly #uses = new Map<string, { readonly use: LocalUse; accounts: number }>()
  readonly #holder = randomBytes(6).toString('base64url')
  #opened = 0

  constructor(context: AccountContext) {
    this.#context = context
  }

  get size(): number {
    return this.#byKey.size
  }

  open(key: string, points: number): Account {
    const { limit, ledger } = this.#context
    // Leases under other points are another account's; what they have used, Redis adds up.
    const id = this.#hasSeveral ? compositeKey(String(points), key) : key
    const known = this.#byKey.get(id)
    if (known !== undefined) {
      if (ledger === undefined) known.points = points
      return known
    }
    if (this.#byKey.size >= MAX_KEYS) this.#evict()
    const holder = this.#holder + (this.#opened++).toString(36)
    const account = new (limit.bucket ? BucketAccount : WindowAccount)(
      key,
      holder,
      points,
      this.#context,
      this.#localOf(key),
    )
    this.#byKey.set(id, account)
    return account
  }

  /** Forgets what is over. @returns what to tell Redis, composed when it is sent */
  sweep(now: number): (() => Message)[] {
    const composers: (() => Message)[] = []
    const { ledger } = this.#context
    for (const [id, account] of this.#byKey) {
      if (account.isOver(now)) this.#forget(id, account)
      // While Redis is away a lease is worth more here.
      else if (ledger?.available && account.sweep(now)) composers.push(() => account.report())
    }
    return composers
  }

  /** What Redis may have lost. */
  recall(now: number): (() => Message)[] {
    return [...this.#byKey.values()]
      .filter((account) => account.hasHistory && !account.isOver(now))
      .map((account) => () => account.report())
  }

  /** What Redis is asked now. */
  asking(): Promise<void>[] {
    return [...this.#byKey.values()].flatMap(({ asking }) => asking ?? [])
  }

  /** Forgets all. @returns as `sweep` */
  leave(now: number): (() => Message)[] {
    const composers = [...this.#byKey.values()]
      .filter((account) => account.owes(now))
      .map((account) => () => account.leave())
    this.#byKey.clear()
    this.#uses.clear()
    return composers
  }

  /** A key has one account for each number of points under which it is leased. */
  get #hasSeveral(): boolean {
    return typeof this.#context.limit.points === 'function' && this.#context.ledger !== undefined
  }

  #localOf(key: string): LocalUse {
    if (!this.#hasSeveral) return new LocalUse()
    let known = this.#uses.get(key)
    if (known === undefined) {
      known = { use: new LocalUse(), accounts: 0 }
      this.#uses.set(key, known)
    }
    known.accounts++
    return known.use
  }

  #forget(id: string, { key }: Account): void {
    this.#byKey.delete(id)
    const known = this.#uses.get(key)
    if (known !== undefined && --known.accounts === 0) this.#uses.delete(key)
  }

  #evict(): void {
    let passedOver = 0
    for (const [id, account] of this.#byKey) {
      if (account.asking && passedOver++ < PASSED_OVER) continue
      if (account.asking) return
      this.#forget(id, account)
      if (account.owes(this.#context.clock.now())) void this.#context.ledger?.tell([() => account.leave()])
      return
    }
  }
}
