/** The pages that the channels of a process have read. Owns the bound on their bytes, and on concurrent reads. */
import type { Clock } from '../../core/clock.js'
import type { Page } from './page.js'

/** How long a page is kept: about as long as a reconnect storm lasts. */
const KEEP_MS = 5000
/** The maximum bytes of all kept pages. */
const MAX_BYTES = 33_554_432
/** Concurrent reads. Each may return `READ_BYTES`, or the events of one `publishMany`, which may be larger. */
const MAX_READS = 8

interface Kept {
  readonly owner: object
  readonly page: Page
}

export class PageStore {
  readonly #clock: Clock
  readonly #byOwner = new Map<object, Map<number, Kept>>()
  /** Oldest first. */
  readonly #kept = new Set<Kept>()
  readonly #waiting: (() => void)[] = []
  #bytes = 0
  #reads = 0

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** @param after the offset that the page begins after */
  get(owner: object, after: number): Page | undefined {
    return this.#byOwner.get(owner)?.get(after)?.page
  }

  /** Keeps a page for some seconds. Replaces the page with the same beginning, and evicts the oldest pages. */
  keep(owner: object, page: Page): void {
    const before = this.#byOwner.get(owner)?.get(page.after)
    if (before !== undefined) this.#drop(before)
    const cost = costOf(page)
    if (cost > MAX_BYTES) return
    for (const oldest of this.#kept) {
      if (this.#bytes + cost <= MAX_BYTES) break
      this.#drop(oldest)
    }
    const kept = { owner, page }
    let pages = this.#byOwner.get(owner)
    if (pages === undefined) {
      pages = new Map()
      this.#byOwner.set(owner, pages)
    }
    pages.set(page.after, kept)
    this.#kept.add(kept)
    this.#bytes += cost
    this.#clock.after(KEEP_MS, () => this.#drop(kept))
  }

  /** Drops all pages of an owner. */
  forget(owner: object): void {
    for (const kept of this.#byOwner.get(owner)?.values() ?? []) this.#drop(kept)
  }

  /** Calls `read` as soon as fewer than `MAX_READS` reads are running. */
  async reading<T>(read: () => Promise<T>): Promise<T> {
    if (this.#reads >= MAX_READS) await new Promise<void>((resolve) => this.#waiting.push(resolve))
    else this.#reads++
    try {
      return await read()
    } finally {
      const next = this.#waiting.shift()
      if (next === undefined) this.#reads--
      else next()
    }
  }

  #drop(kept: Kept): void {
    if (!this.#kept.delete(kept)) return
    this.#bytes -= costOf(kept.page)
    const pages = this.#byOwner.get(kept.owner)
    pages?.delete(kept.page.after)
    if (pages?.size === 0) this.#byOwner.delete(kept.owner)
  }
}

/** The bytes of the entries, and as many for the chunks that are joined from them. */
function costOf({ bytes }: Page): number {
  return 2 * bytes
}
