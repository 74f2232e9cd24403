import type { Head, Position } from '../../core/position.js'

const MAX_CHANNELS_SEEN = 10_000
/** The maximum number of replaced logs of a channel whose positions are kept. */
const MAX_REPLACED = 8
const NONE: readonly string[] = []

interface SeenPosition extends Position {
  /** Earlier epochs after which the log has lost entries that this process received. */
  readonly lossy: readonly string[]
  /** The positions in logs that were replaced, the latest first: such a log may be restored. */
  readonly replaced: readonly Position[]
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
    this.#set(channel, { epoch, offset, lossy: seen?.lossy ?? NONE, replaced: seen?.replaced ?? [] })
  }

  /** Notes a log's head. @returns the earlier epochs after which the log has lost entries that this process received */
  noteHead(channel: string, head: Head): readonly string[] {
    const { epoch, offset } = head
    const seen = this.#positions.get(channel)
    if (seen?.epoch === epoch && seen.lossy.length === 0 && seen.replaced.length === 0) {
      // As usual: each publication is such a head (bench publish).
      this.#set(channel, { ...seen, offset: Math.max(seen.offset, offset) })
      return NONE
    }
    const positions = seen === undefined ? [] : [seen, ...seen.replaced]
    const lost = new Set([...positions.flatMap((position) => lostSince(position, head)), ...(seen?.lossy ?? NONE)])
    const lossy = [...lost].filter((former) => head.earlier?.some((life) => life.epoch === former))
    const furthest = seen?.epoch === epoch ? Math.max(seen.offset, offset) : offset
    // The reply to a late attempt may have the head of an earlier life, without the lives before it.
    const kept = lossy.length > 0 ? lossy : (seen?.lossy ?? NONE)
    const isReplaced = seen !== undefined && !isSameLog(seen, head)
    const replaced = isReplaced ? positions.slice(0, MAX_REPLACED).map(toPosition) : (seen?.replaced ?? [])
    this.#set(channel, { epoch, offset: furthest, lossy: kept, replaced })
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

function isSameLog({ epoch }: Position, head: Head): boolean {
  return head.epoch === epoch || head.earlier?.some((life) => life.epoch === epoch) === true
}

function toPosition({ epoch, offset }: Position): Position {
  return { epoch, offset }
}

/** The earlier epochs, latest first, after which entries are lost: from the epoch of `seen` back to the first. */
function lostSince(seen: Position, { epoch, earlier = [] }: Head): readonly string[] {
  if (seen.epoch === epoch) return NONE
  const at = earlier.findIndex((life) => life.epoch === seen.epoch)
  const kept = earlier[at]
  return kept !== undefined && kept.offset < seen.offset ? earlier.slice(at).map((life) => life.epoch) : NONE
}
