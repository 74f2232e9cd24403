/** The pages that all channels of a process have read. Owns how many bytes they take, and how many reads are under way at once. */
import type { Clock } from '../../core/clock.js'
import type { Page } from './page.js'

/** How long pages are kept: about as long as a reconnect storm lasts. */
const KEEP_MS = 5000
/** Bytes of all pages kept. */
const KEEP_BYTES = 33_554_432
/** Reads under way at once: each may bring `READ_BYTES`, or one publishing call, which is larger. */
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

  /** Keeps a page for some seconds, in place of one that begins where it does. The oldest make room. */
  keep(owner: object, page: Page): void {
    const before = this.#byOwner.get(owner)?.get(page.after)
    if (before !== undefined) this.#drop(before)
    const cost = costOf(page)
    if (cost > KEEP_BYTES) return
    for (const oldest of this.#kept) {
      if (this.#bytes + cost <= KEEP_BYTES) break
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

  /** Reads as soon as no more than `MAX_READS` are under way. */
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

/** The entries, and as much again for the chunks that are joined of them. */
function costOf({ bytes }: Page): number {
  return 2 * bytes
}
