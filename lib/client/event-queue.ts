import type { ClientEvent } from './listeners.js'

/** What waits for the async iterator. */
export interface EventQueue {
  /** @returns whether somebody iterates; else nothing is kept */
  push(event: ClientEvent): boolean
  /** Pending while it is full, for the one who reads; `undefined` if it is not. */
  room(): Promise<void> | undefined
  /** From 0 to 1. */
  fullness(): number
  /** No more will come. */
  end(error?: Error): void
  iterate(): AsyncGenerator<ClientEvent, void, void>
}

/**
 * A queue bounded by its filler, which stops reading while there is no room.
 * @param onHandled the consumer has asked for the next one
 */
export function createEventQueue(limit: number, onHandled: (event: ClientEvent) => void): EventQueue {
  let events: ClientEvent[] = []
  let isActive = false
  let hasEnded = false
  let failure: Error | undefined
  let onArrival: (() => void) | undefined
  let onRoom: (() => void) | undefined

  function release(): void {
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
      if (isActive) throw new TypeError('The stream is being iterated already')
      isActive = true
      try {
        for (;;) {
          for (let event = events.shift(); event !== undefined; event = events.shift()) {
            release()
            yield event
            onHandled(event)
          }
          if (failure !== undefined) throw failure
          if (hasEnded) return
          await new Promise<void>((resolve) => {
            onArrival = resolve
          })
        }
      } finally {
        isActive = false
        events = []
        release()
      }
    },
  }
}
