/**
 * A Map of at most `max` entries: setting one more evicts the entry that was set first. `set` moves an entry to the
 * end. Not lru-cache: a read must not prolong an entry, so that the order of the entries is the order in which they
 * expire.
 */
export class BoundedMap<K, V> extends Map<K, V> {
  readonly #max: number

  constructor(max: number) {
    super()
    this.#max = max
  }

  override set(key: K, value: V): this {
    this.delete(key)
    super.set(key, value)
    if (this.size > this.#max) {
      const [oldest] = this.keys()
      this.delete(oldest as K)
    }
    return this
  }
}
