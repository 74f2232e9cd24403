import { type Head, type Life, type Position, sharedOffset } from '../../core/position.js'

const MAX_CHANNELS_SEEN = 10_000
/** The maximum number of positions of a channel in logs that were replaced. */
const MAX_REPLACED = 8
const NONE: readonly string[] = []

/** A position that this process has received, and the lives of its log at that time. */
type KnownPosition = Position & Life

interface SeenPosition extends KnownPosition {
  /** Earlier epochs after which the log has lost entries that this process received. */
  readonly lossy: readonly string[]
  /** The positions in logs that were replaced, the latest first: what this log shares with them may be lost. */
  readonly replaced: readonly KnownPosition[]
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
    this.#set(channel, { ...(seen ?? { epoch, lossy: NONE, replaced: [] }), offset })
  }

  /**
   * Notes a log's head. @returns the epochs, of this log or of one that it replaced, after which entries are lost that
   * this process received
   */
  noteHead(channel: string, head: Head): readonly string[] {
    const { epoch, earlier = [] } = head
    const seen = this.#positions.get(channel)
    if (seen?.epoch === epoch && seen.lossy.length === 0 && seen.replaced.length === 0) {
      // As usual: each publication is such a head (bench publish).
      this.#set(channel, { ...seen, offset: Math.max(seen.offset, head.offset) })
      return NONE
    }
    const known = seen === undefined ? [] : [seen, ...seen.replaced]
    const lost = new Set([...known.flatMap((position) => lostSince(position, head)), ...(seen?.lossy ?? NONE)])
    const lossy = [...lost].filter((former) => earlier.some((life) => life.epoch === former))
    const isReplaced = seen !== undefined && ![head, ...earlier].some((life) => life.epoch === seen.epoch)
    this.#set(channel, {
      epoch,
      earlier,
      offset: seen?.epoch === epoch ? Math.max(seen.offset, head.offset) : head.offset,
      // The reply to a late attempt may have the head of an earlier life, without the lives before it.
      lossy: lossy.length > 0 ? lossy : (seen?.lossy ?? NONE),
      replaced: isReplaced ? known.slice(0, MAX_REPLACED).map(toKnown) : (seen?.replaced ?? []),
    })
    return [...lost]
  }

  #set(channel: string, seen: SeenPosition): void {
    this.#positions.delete(channel)
    this.#positions.set(channel, seen)
    if (this.#positions.size <= MAX_CHANNELS_SEEN) return
    const oldest = this.#positions.keys().next()
    if (!oldest.done) this.#positions.delete(oldest.value)
  }
}

function toKnown({ epoch, offset, earlier = [] }: KnownPosition): KnownPosition {
  return { epoch, offset, earlier }
}

/**
 * The epochs after which entries are lost that precede `known`: those that both logs share, and those of `known` since
 * they parted. None if they share no epoch, or if the log still has that position.
 */
function lostSince(known: KnownPosition, head: Head): readonly string[] {
  if (known.epoch === head.epoch) return NONE
  const kept = sharedOffset(known, head)
  if (kept === undefined || kept >= known.offset) return NONE
  const epochs = [head, ...(head.earlier ?? [])].map(({ epoch }) => epoch)
  const own = [known, ...(known.earlier ?? [])].map(({ epoch }) => epoch)
  const parted = own.findIndex((epoch) => epochs.includes(epoch))
  const shared = epochs.indexOf(own[parted] as string)
  return [...own.slice(0, parted), ...epochs.slice(Math.max(1, shared))]
}
