/** Those to notify of one kind of event. Each owner removes what it added, and nothing else. */
export class Listeners<T> {
  /** Objects of their own, so that one function may be added twice. */
  readonly #entries = new Set<{ readonly listener: (value: T) => void }>()

  /** @returns removes the listener; idempotent */
  add(listener: (value: T) => void): () => void {
    const entry = { listener }
    this.#entries.add(entry)
    return () => void this.#entries.delete(entry)
  }

  /** Calls those that were added before; they must not throw. */
  notify(value: T): void {
    for (const { listener } of [...this.#entries]) listener(value)
  }
}
