import type { Position } from '../../core/position.js'

const MAX_CHANNELS_SEEN = 10_000

/**
 * The furthest position this process has seen of each log: the witness against a log that went back. Bounded; the
 * channel untouched for longest is forgotten first.
 */
export class SeenPositions {
  readonly #positions = new Map<string, Position>()

  get(channel: string): Position | undefined {
    return this.#positions.get(channel)
  }

  note(channel: string, position: Position): void {
    const seen = this.#positions.get(channel)
    if (seen?.epoch === position.epoch && seen.offset >= position.offset) return
    this.#positions.delete(channel)
    this.#positions.set(channel, position)
    if (this.#positions.size <= MAX_CHANNELS_SEEN) return
    const oldest = this.#positions.keys().next()
    if (!oldest.done) this.#positions.delete(oldest.value)
  }
}
