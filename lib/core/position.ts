/** Where one log stands or a stream has read to. */
export interface Position {
  /** Names one life of one log; six characters of `[a-z0-9]`, made at random when the log is born or replaced. */
  readonly epoch: string
  /** The last event had, dense from 1; 0 is before the first. */
  readonly offset: number
}

/** Under which epoch a log is now, and was. */
export interface Life {
  readonly epoch: string
  /**
   * Former lives, the latest first: up to such a position the log is what it was under that epoch; what came after that
   * is gone. @defaultValue none
   */
  readonly earlier?: readonly Position[]
}

/** Where a log stands. */
export interface Head extends Position, Life {
  /** Former epochs after which the log is known to have lost entries. @defaultValue none */
  readonly lossy?: readonly string[]
}

/** Whether the log has been at a position, and still is what it was up to there. */
export function isIn({ epoch, earlier }: Life, position: Position): boolean {
  if (position.epoch === epoch) return true
  return earlier?.some((life) => life.epoch === position.epoch && position.offset <= life.offset) === true
}

/**
 * How far two views of one log are the same: the offset of the last position that both have been at. Epochs change, offsets go on.
 * @returns `undefined` if they share no life: these are two logs
 */
export function sharedOffset(one: Head, other: Head): number | undefined {
  for (const life of livesOf(one)) {
    const same = livesOf(other).find(({ epoch }) => epoch === life.epoch)
    if (same !== undefined) return Math.min(life.offset, same.offset)
  }
  return undefined
}

/** The latest first. */
function livesOf({ epoch, offset, earlier = [] }: Head): readonly Position[] {
  return [{ epoch, offset }, ...earlier]
}

/** The most channels one stream may have: what a cursor carries. */
export const MAX_CHANNELS = 8

const EPOCH_LENGTH = 6
const ALPHABET = 'abcdefghijklmnopqrstuvwxyz0123456789'

/**
 * A fresh epoch. Six characters (2.2e9 values) keep a cursor over eight channels within 128 bytes up to offset
 * 99,999,999. They only have to differ from the same log's former lives and from the few others in one cursor.
 */
export function createEpoch(random: () => number = Math.random): string {
  let epoch = ''
  for (let i = 0; i < EPOCH_LENGTH; i++) epoch += ALPHABET[Math.floor(random() * ALPHABET.length)]
  return epoch
}
