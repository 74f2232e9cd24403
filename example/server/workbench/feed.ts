/** The events of the workbench: numbered, so that whoever reads them knows what it missed. */
import type { Priority, SseEvent } from 'express-sse-kit'

const KEYS = 8

export function feedEvent(number: number, bytes: number): SseEvent {
  return {
    event: 'reading',
    data: `${number} ${Date.now()} `.padEnd(bytes, '-'),
    key: `sensor-${number % KEYS}`,
    priority: priorityOf(number),
  }
}

/** One of ten is urgent, four are not. */
export function priorityOf(number: number): Priority {
  const place = number % 10
  if (place === 0) return 'high'
  return place <= 4 ? 'low' : 'normal'
}

/** What an event says of itself. */
export function readFeedEvent(data: string): { readonly number: number; readonly madeAt: number } {
  const [number, madeAt] = data.slice(0, 40).split(' ', 2)
  return { number: Number(number), madeAt: Number(madeAt) }
}
