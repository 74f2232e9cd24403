/**
 * Last-Event-ID ⇄ positions. A cursor is `<epoch>-<offset>`, or several joined with `.`, one for each channel. Epochs
 * differ, so a part needs no channel name. No Node imports: the browser client shares this file.
 */
import { MAX_CHANNELS, type Position } from '../core/position.js'

/**
 * Eight epochs with the largest safe offsets are 191 bytes. (Up to offset 99,999,999 a cursor stays within the 128 bytes
 * that a cross-origin request may carry without a preflight.)
 */
const MAX_CURSOR_LENGTH = 191
const PART = /^[a-z0-9]{1,16}-(?:0|[1-9][0-9]{0,15})$/

export function printCursor(positions: readonly Position[]): string {
  let cursor = ''
  for (const { epoch, offset } of positions) cursor += `${cursor === '' ? '' : '.'}${epoch}-${offset}`
  return cursor
}

/** The line that makes a cursor a client's `Last-Event-ID`. */
export function idLine(cursor: string): string {
  return `id: ${cursor}\n`
}

/**
 * What does not parse counts as no cursor, never as an error: the value comes from outside and may be anybody's.
 * @returns `undefined` for no cursor
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

function parsePosition(part: string): Position | undefined {
  if (!PART.test(part)) return undefined
  const dash = part.indexOf('-')
  const offset = Number(part.slice(dash + 1))
  return Number.isSafeInteger(offset) ? { epoch: part.slice(0, dash), offset } : undefined
}
