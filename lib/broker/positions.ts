import type { EncodedEvent } from '../core/message.js'
import type { Position } from '../core/position.js'

/**
 * The positions of events that were published as one step: next to each other, the last at the log's head. An ephemeral
 * event has no place in the log: offset 0.
 */
export function positionsAfter(events: readonly EncodedEvent[], { epoch, offset }: Position): readonly Position[] {
  let next = offset + 1
  for (const { ephemeral } of events) if (!ephemeral) next--
  return events.map(({ ephemeral }) => ({ epoch, offset: ephemeral ? 0 : next++ }))
}
