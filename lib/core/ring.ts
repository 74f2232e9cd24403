/**
 * A first-in-first-out queue in a ring that doubles when it is full. All operations are O(1), `push` amortised.
 *
 * ```
 *   slots  [ e  f  .  .  b  c  d ]      length 5
 *                        ^ head         at(0) = b … at(4) = f
 * ```
 */
export class Ring<T> {
  #slots: (T | undefined)[]
  #head = 0
  #length = 0

  constructor(initialCapacity = 8) {
    this.#slots = new Array(powerOfTwo(initialCapacity))
  }

  get length(): number {
    return this.#length
  }

  /** The item at `index`, counted from the oldest; `undefined` outside 0 … length−1. */
  at(index: number): T | undefined {
    if (index < 0 || index >= this.#length) return undefined
    return this.#slots[(this.#head + index) & (this.#slots.length - 1)]
  }

  push(item: T): void {
    if (this.#length === this.#slots.length) this.#grow()
    this.#slots[(this.#head + this.#length) & (this.#slots.length - 1)] = item
    this.#length++
  }

  /** Removes and returns the oldest item. */
  shift(): T | undefined {
    if (this.#length === 0) return undefined
    const item = this.#slots[this.#head]
    this.#slots[this.#head] = undefined
    this.#head = (this.#head + 1) & (this.#slots.length - 1)
    this.#length--
    return item
  }

  clear(): void {
    this.#slots = new Array(8)
    this.#head = 0
    this.#length = 0
  }

  #grow(): void {
    const bigger = new Array<T | undefined>(this.#slots.length * 2)
    for (let i = 0; i < this.#length; i++) bigger[i] = this.at(i)
    this.#slots = bigger
    this.#head = 0
  }
}

function powerOfTwo(atLeast: number): number {
  let size = 1
  while (size < atLeast) size *= 2
  return size
}
