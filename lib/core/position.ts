/** A place in one log: where the log ends, or up to where a stream has read. */
export interface Position {
  /**
   * Names one life of one log: six random characters of `[a-z0-9]`. A log gets a new epoch when it is created, when it
   * is replaced, and when it has lost entries.
   */
  readonly epoch: string
  /** The offset of the last event, dense from 1. 0: before the first event. */
  readonly offset: number
}

/** The current epoch of a log, and its earlier ones. */
export interface Life {
  readonly epoch: string
  /**
   * Earlier lives, the latest first. Up to such a position the log is the same as under that epoch; the entries after
   * the position are lost. @defaultValue none
   */
  readonly earlier?: readonly Position[]
}

/** Where a log ends now. */
export interface Head extends Position, Life {
  /** Earlier epochs after which the log is known to have lost entries. @defaultValue none */
  readonly lossy?: readonly string[]
  /** No entry follows any more. @defaultValue false */
  readonly ended?: boolean
}

/** Whether the log has reached this position, and is unchanged up to it. */
export function isIn({ epoch, earlier }: Life, position: Position): boolean {
  if (position.epoch === epoch) return true
  return earlier?.some((life) => life.epoch === position.epoch && position.offset <= life.offset) === true
}

/**
 * The offset up to which two views of one log are the same. An epoch change does not restart the offsets.
 * @returns `undefined` if the views share no epoch: they are two different logs
 */
export function sharedOffset(one: Head, other: Head): number | undefined {
  for (const life of livesOf(one)) {
    const same = livesOf(other).find(({ epoch }) => epoch === life.epoch)
    if (same !== undefined) return Math.min(life.offset, same.offset)
  }
  return undefined
}

/** All lives of a log, the latest first. */
function livesOf({ epoch, offset, earlier = [] }: Head): readonly Position[] {
  return [{ epoch, offset }, ...earlier]
}

/**
 * The positions of events that were published as one step: they are adjacent, and the last one is the log's `head`. An
 * ephemeral event gets offset 0.
 */
export function positionsUpTo(
  { epoch, offset }: Position,
  events: readonly { readonly ephemeral: boolean }[],
): readonly Position[] {
  let next = offset + 1
  for (const { ephemeral } of events) if (!ephemeral) next--
  return events.map(({ ephemeral }) => ({ epoch, offset: ephemeral ? 0 : next++ }))
}

/** The largest offset of a log in Redis: 15 digits, so that Lua and JavaScript compute exactly, also beyond it. */
export const MAX_OFFSET = 999_999_999_999_999

const EPOCH = /^[a-z0-9]{1,16}$/

/** Whether the text can stand for an epoch in a cursor, and so in an `id:` line. */
export function isEpoch(text: string): boolean {
  return EPOCH.test(text)
}

/** The maximum number of channels of a stream, and so of positions in a cursor. */
export const MAX_CHANNELS = 8

export const EPOCH_LENGTH = 6
export const EPOCH_ALPHABET = 'abcdefghijklmnopqrstuvwxyz0123456789'

/**
 * A new random epoch. Six characters give 2.2e9 values and keep a cursor over eight channels within 128 bytes up to
 * offset 99,999,999. An epoch only has to differ from the earlier epochs of its log and from the other epochs in one
 * cursor.
 */
export function createEpoch(random: () => number = Math.random): string {
  let epoch = ''
  for (let i = 0; i < EPOCH_LENGTH; i++) epoch += EPOCH_ALPHABET[Math.floor(random() * EPOCH_ALPHABET.length)]
  return epoch
}
