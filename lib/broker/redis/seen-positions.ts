import type { Head, Position } from '../../core/position.js'

const MAX_CHANNELS_SEEN = 10_000
const NONE: readonly string[] = []

interface Seen extends Position {
  /** Former epochs after which the log has lost what this process had seen. */
  readonly lossy: readonly string[]
}

/**
 * The furthest position this process has seen of each log: the witness against a log that went back. Bounded; the
 * channel untouched for longest is forgotten first.
 */
export class SeenPositions {
  readonly #positions = new Map<string, Seen>()

  get(channel: string): Position | undefined {
    return this.#positions.get(channel)
  }

  /** Notes an entry. Of another epoch it says nothing about what was lost before: only a head does. */
  note(channel: string, { epoch, offset }: Position): void {
    const seen = this.#positions.get(channel)
    if (seen !== undefined && (seen.epoch !== epoch || seen.offset >= offset)) return
    this.#set(channel, { epoch, offset, lossy: seen?.lossy ?? NONE })
  }

  /** Notes where a log is. @returns the former epochs after which it has lost what this process had seen */
  noteHead(channel: string, head: Head): readonly string[] {
    const { epoch, offset } = head
    const seen = this.#positions.get(channel)
    const lost = seen === undefined ? NONE : [...new Set([...lostSince(seen, head), ...seen.lossy])]
    const lossy = lost.filter((former) => head.earlier?.some((life) => life.epoch === former))
    const furthest = seen?.epoch === epoch ? Math.max(seen.offset, offset) : offset
    // The answer to a late try may be of a former life, and knows none before it.
    const kept = lossy.length > 0 ? lossy : (seen?.lossy ?? NONE)
    this.#set(channel, { epoch, offset: furthest, lossy: kept })
    return lossy
  }

  #set(channel: string, seen: Seen): void {
    this.#positions.delete(channel)
    this.#positions.set(channel, seen)
    if (this.#positions.size <= MAX_CHANNELS_SEEN) return
    const oldest = this.#positions.keys().next()
    if (!oldest.done) this.#positions.delete(oldest.value)
  }
}

/** The latest first, as former lives are: what was lost is missing to all of them. */
function lostSince(seen: Position, { epoch, earlier = [] }: Head): readonly string[] {
  if (seen.epoch === epoch) return NONE
  const at = earlier.findIndex((life) => life.epoch === seen.epoch)
  const kept = earlier[at]
  return kept !== undefined && kept.offset < seen.offset ? earlier.slice(at).map((life) => life.epoch) : NONE
}
