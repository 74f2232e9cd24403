/**
 * Cursor (`Last-Event-ID`) ⇄ positions. A cursor is `<epoch>-<offset>`, or several of them joined with `.`, one for
 * each channel. The epoch identifies the channel, so a part needs no channel name. No Node imports: the browser client
 * shares this file.
 */
import { MAX_CHANNELS, type Position } from '../core/position.js'

/**
 * The length of eight positions with the largest safe offsets. (Up to offset 99,999,999 a cursor fits into the 128
 * bytes that a cross-origin request may carry in a header without a preflight; Fetch, 2.2.2.)
 */
const MAX_CURSOR_LENGTH = 191
const PART = /^[a-z0-9]{1,16}-(?:0|[1-9][0-9]{0,15})$/

/** The inverse of `parseCursor`. */
export function printCursor(positions: readonly Position[]): string {
  let cursor = ''
  for (const { epoch, offset } of positions) cursor += `${cursor === '' ? '' : '.'}${epoch}-${offset}`
  return cursor
}

/** The `id:` line. Clients keep its cursor and send it as `Last-Event-ID`. */
export function idLine(cursor: string): string {
  return `id: ${cursor}\n`
}

/**
 * Parses a cursor. The value is untrusted, so an invalid one counts as absent and is never an error.
 * @returns `undefined` if `text` is not a cursor
 */
export function parseCursor(text: unknown): readonly Position[] | undefined {
  if (typeof text !== 'string' || text === '' || text.length > MAX_CURSOR_LENGTH) return undefined
  const parts = text.split('.')
  if (parts.length > MAX_CHANNELS) return undefined
  const positions: Position[] = []
  for (const part of parts) {
    const position = parsePosition(part)
    if (position === undefined || positions.some(({ epoch }) => epoch === position.epoch)) return undefined
    positions.push(position)
  }
  return positions
}

/** @returns `undefined` if `part` is not one position of a cursor */
export function parsePosition(part: string): Position | undefined {
  if (!PART.test(part)) return undefined
  const dash = part.indexOf('-')
  const offset = Number(part.slice(dash + 1))
  return Number.isSafeInteger(offset) ? { epoch: part.slice(0, dash), offset } : undefined
}
