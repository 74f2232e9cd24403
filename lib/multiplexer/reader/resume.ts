/** From what a request asks for to where its stream begins in each channel. */
import type { Position } from '../../core/position.js'
import type { Channel } from '../channel/channel.js'
import type { Start } from './positions.js'

/**
 * Matches the cursor's parts to channels by their epochs, those of former lives included.
 * - No cursor: every channel from its head, or from the earliest entry kept.
 * - A channel's part is found: from there, even if what leads there is still under way; if the log has never been there, from its
 *   head, with a reset.
 * - No part is found for a channel: from its head; with a reset if the cursor has a part of no channel here, because
 *   that may have been this one's former life.
 * @param channels that are caught up with the cursor (`catchUpWith`)
 * @param cursor `undefined`: the request has none
 * @param earliest `?from=earliest`: without a cursor, begin with all that is kept
 */
export function startsOf(
  channels: readonly Channel[],
  cursor: readonly Position[] | undefined,
  earliest: boolean,
): readonly Start[] {
  if (cursor === undefined) {
    return channels.map((channel) => ({ channel, offset: earliest ? 0 : channel.flushed, earliest }))
  }
  return channels.map((channel) => {
    const part = channel.find(cursor)
    const { flushed } = channel
    if (part !== undefined && part.offset <= channel.known) {
      // It reads on, but what was lost after it must be announced.
      return { channel, offset: part.offset, ...(channel.hasLostAfter(part) && { reset: 'log_replaced' as const }) }
    }
    if (part !== undefined) return { channel, offset: flushed, reset: 'cursor_ahead' }
    return hasLostPart(cursor, channels)
      ? { channel, offset: flushed, reset: 'log_replaced' }
      : { channel, offset: flushed }
  })
}

function hasLostPart(cursor: readonly Position[], channels: readonly Channel[]): boolean {
  return cursor.some((part) => channels.every((channel) => channel.find([part]) === undefined))
}

/**
 * A cursor that another process, or `cursor()`, gave out may be ahead of what has been delivered here.
 * @returns `undefined` if it is not, as mostly: nothing is to be waited for
 * @throws BrokerError if a channel had to be caught up and the broker failed
 */
export function catchUpWith(cursor: readonly Position[], channels: readonly Channel[]): Promise<unknown> | undefined {
  for (const channel of channels) {
    if (!reaches(channel, cursor)) return Promise.all(channels.map((each) => catchUpTo(each, cursor)))
  }
  return undefined
}

/** The first look may have begun before this request, for another one; the second has not. */
async function catchUpTo(channel: Channel, cursor: readonly Position[]): Promise<void> {
  for (let look = 0; look < 2 && !reaches(channel, cursor); look++) await channel.catchUp()
}

/** Whether the cursor's place in the channel is known to be in the log. It may be under way to here. */
function reaches(channel: Channel, cursor: readonly Position[]): boolean {
  const part = channel.find(cursor)
  return part !== undefined && part.offset <= channel.known
}
