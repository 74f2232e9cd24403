/** Where one log stands or a stream has read to. */
export interface Position {
  /** Names one life of one log; six characters of `[a-z0-9]`, made at random when the log is born or replaced. */
  readonly epoch: string
  /** The last event had, dense from 1; 0 is before the first. */
  readonly offset: number
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
