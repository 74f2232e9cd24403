/** request's cursor ─► **resume** ─► the positions at which its stream or poll begins. */
import type { Position } from '../../core/position.js'
import type { Channel } from '../channel/channel.js'
import type { StartPosition } from './positions.js'

/**
 * Matches the positions of a cursor to channels by their epochs, earlier epochs included.
 * - Without a cursor, every channel begins at its head, or at the oldest entry kept. If all channels have ended, nothing
 *   follows their heads, so they begin at the oldest entry too.
 * - A channel with a position in the cursor begins there, also if the entries up to it have not been delivered here
 *   yet. If the log does not reach that position, the channel begins at its head, with a reset.
 * - A channel without a position in the cursor begins at its head. With a reset if the cursor has a position in none of
 *   these channels: that position may be in an earlier log of this channel.
 * @param channels channels that have caught up with the cursor (`catchUpWith`)
 * @param cursor `undefined`: the request has none
 * @param earliest `?from=earliest`: without a cursor, begin with the oldest entry kept
 */
export function resumePositions(
  channels: readonly Channel[],
  cursor: readonly Position[] | undefined,
  earliest: boolean,
): readonly StartPosition[] {
  if (cursor === undefined) {
    const replays = earliest || channels.every(({ ended }) => ended)
    return channels.map((channel) => ({ channel, offset: replays ? 0 : channel.flushed, earliest: replays }))
  }
  return channels.map((channel) => {
    const position = channel.positionIn(cursor)
    const { flushed } = channel
    if (position !== undefined && position.offset <= channel.known) {
      // The stream continues, but entries that were lost after this position must be announced.
      const reset = channel.hasLostAfter(position) && { reset: 'log_replaced' as const }
      return { channel, offset: position.offset, ...reset }
    }
    if (position !== undefined) return { channel, offset: flushed, reset: 'cursor_ahead' }
    return hasUnmatchedPosition(cursor, channels)
      ? { channel, offset: flushed, reset: 'log_replaced' }
      : { channel, offset: flushed }
  })
}

function hasUnmatchedPosition(cursor: readonly Position[], channels: readonly Channel[]): boolean {
  return cursor.some((position) => channels.every((channel) => channel.positionIn([position]) === undefined))
}
