/** The events of the workbench. They are numbered, so that a client can count missed events. */
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

/** One event of ten has high priority, four have low priority. */
export function priorityOf(number: number): Priority {
  const place = number % 10
  if (place === 0) return 'high'
  return place <= 4 ? 'low' : 'normal'
}

/** Reads the number and the time of an event from its data. */
export function readFeedEvent(data: string): { readonly number: number; readonly madeAt: number } {
  const [number, madeAt] = data.slice(0, 40).split(' ', 2)
  return { number: Number(number), madeAt: Number(madeAt) }
}
