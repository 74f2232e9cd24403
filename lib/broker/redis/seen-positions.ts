import type { Head, Position } from '../../core/position.js'

const MAX_CHANNELS_SEEN = 10_000
const NONE: readonly string[] = []

interface SeenPosition extends Position {
  /** Earlier epochs after which the log has lost entries that this process received. */
  readonly lossy: readonly string[]
}

/**
 * The highest position of each log that this process has received. It detects a log whose offset went back. Bounded:
 * the channel that was updated least recently is evicted first.
 */
export class SeenPositions {
  readonly #positions = new Map<string, SeenPosition>()

  get(channel: string): Position | undefined {
    return this.#positions.get(channel)
  }

  /** Notes an entry. Ignores an entry of another epoch, because only a head shows which entries that log has lost. */
  note(channel: string, { epoch, offset }: Position): void {
    const seen = this.#positions.get(channel)
    if (seen !== undefined && (seen.epoch !== epoch || seen.offset >= offset)) return
    this.#set(channel, { epoch, offset, lossy: seen?.lossy ?? NONE })
  }

  /** Notes a log's head. @returns the earlier epochs after which the log has lost entries that this process received */
  noteHead(channel: string, head: Head): readonly string[] {
    const { epoch, offset } = head
    const seen = this.#positions.get(channel)
    const lost = seen === undefined ? NONE : [...new Set([...lostSince(seen, head), ...seen.lossy])]
    const lossy = lost.filter((former) => head.earlier?.some((life) => life.epoch === former))
    const furthest = seen?.epoch === epoch ? Math.max(seen.offset, offset) : offset
    // The reply to a late attempt may have the head of an earlier life, without the lives before it.
    const kept = lossy.length > 0 ? lossy : (seen?.lossy ?? NONE)
    this.#set(channel, { epoch, offset: furthest, lossy: kept })
    return lossy
  }

  #set(channel: string, seen: SeenPosition): void {
    this.#positions.delete(channel)
    this.#positions.set(channel, seen)
    if (this.#positions.size <= MAX_CHANNELS_SEEN) return
    const oldest = this.#positions.keys().next()
    if (!oldest.done) this.#positions.delete(oldest.value)
  }
}

/** The earlier epochs, latest first, after which entries are lost: from the epoch of `seen` back to the first. */
function lostSince(seen: Position, { epoch, earlier = [] }: Head): readonly string[] {
  if (seen.epoch === epoch) return NONE
  const at = earlier.findIndex((life) => life.epoch === seen.epoch)
  const kept = earlier[at]
  return kept !== undefined && kept.offset < seen.offset ? earlier.slice(at).map((life) => life.epoch) : NONE
}
