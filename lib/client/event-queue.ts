import type { ClientEvent } from './listeners.js'

/** The events that wait for the async iterator. */
export interface EventQueue {
  /** @returns whether the event was queued: `false` without an iteration */
  push(event: ClientEvent): boolean
  /** Resolves when the queue has room; `undefined` if it has room now. */
  room(): Promise<void> | undefined
  /** How full the queue is, from 0 to 1. */
  fullness(): number
  /** Ends the iteration after the queued events. Rejects it with `error`, if given. */
  end(error?: Error): void
  iterate(): AsyncGenerator<ClientEvent, void, void>
}

/**
 * The queue does not enforce its bound. The connection does: it stops reading while `room()` is pending.
 * @param onHandled called when the consumer requests the next event, and at the end of the iteration for the others
 */
export function createEventQueue(limit: number, onHandled: (event: ClientEvent) => void): EventQueue {
  let events: ClientEvent[] = []
  let isActive = false
  let hasEnded = false
  let failure: Error | undefined
  let onArrival: (() => void) | undefined
  let onRoom: (() => void) | undefined

  function notifyRoom(): void {
    if (events.length < limit) onRoom?.()
  }

  return {
    push(event) {
      if (isActive) events.push(event)
      onArrival?.()
      return isActive
    },

    room() {
      if (events.length < limit) return undefined
      return new Promise((resolve) => {
        onRoom = resolve
      })
    },

    fullness: () => Math.min(1, events.length / limit),

    end(error) {
      hasEnded = true
      failure = error
      onArrival?.()
    },

    async *iterate() {
      if (isActive) {
        throw new TypeError('The stream already has an iteration; end it before starting another, or use on()')
      }
      isActive = true
      try {
        for (;;) {
          for (let event = events.shift(); event !== undefined; event = events.shift()) {
            notifyRoom()
            try {
              yield event
            } finally {
              onHandled(event)
            }
          }
          if (failure !== undefined) throw failure
          if (hasEnded) return
          await new Promise<void>((resolve) => {
            onArrival = resolve
          })
        }
      } finally {
        isActive = false
        // Nothing else would report these events as handled, and a server would wait for their acknowledgement forever.
        for (const event of events) onHandled(event)
        events = []
        notifyRoom()
      }
    },
  }
}
