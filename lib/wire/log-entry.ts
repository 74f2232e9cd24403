import type { EncodedEvent, LogEntry } from '../core/message.js'
import type { Position } from '../core/position.js'

/** Puts an encoded event at its place in the log: the frame that every stream on this one channel is sent as it is. */
export function logEntry({ epoch, offset }: Position, event: EncodedEvent): LogEntry {
  const { body, priority, key, ttlMs } = event
  if (offset === 0) return { epoch, offset, frame: body, bodyStart: 0, priority, key, ttlMs }
  const idLine = Buffer.from(`id: ${epoch}-${offset}\n`)
  const frame = Buffer.concat([idLine, body])
  return { epoch, offset, frame, bodyStart: idLine.length, priority, key, ttlMs }
}
