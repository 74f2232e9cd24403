/** Counts network usage: requests when they are sent, and the bytes of response bodies when they arrive. */

export interface Usage {
  readonly requests: number
  readonly bytes: number
}

export interface Meter {
  /** Replaces the global `fetch`. Bypasses the browser's cache, so that all counted bytes crossed the network. */
  readonly fetch: typeof fetch
  /** Since the creation of the meter. */
  total(): Usage
  lastMinute(): Usage
}

interface Entry extends Usage {
  readonly at: number
}

const MINUTE_MS = 60_000
const NOTHING: Usage = { requests: 0, bytes: 0 }

/** @param now a monotonic clock, in ms */
export function createMeter(now: () => number = () => performance.now()): Meter {
  let total = NOTHING
  let recent: Entry[] = []

  function add(requests: number, bytes: number): void {
    total = sum(total, { requests, bytes })
    recent.push({ at: now(), requests, bytes })
  }

  return {
    fetch: async (input, init) => {
      add(1, 0)
      const response = await fetch(input, { ...init, cache: 'no-store' })
      if (response.body === null) return response
      const counting = new TransformStream<Uint8Array, Uint8Array>({
        transform(chunk, controller) {
          add(0, chunk.byteLength)
          controller.enqueue(chunk)
        },
      })
      return new Response(response.body.pipeThrough(counting), response)
    },
    total: () => total,
    lastMinute() {
      const since = now() - MINUTE_MS
      recent = recent.filter(({ at }) => at > since)
      return recent.reduce<Usage>(sum, NOTHING)
    },
  }
}

function sum(a: Usage, b: Usage): Usage {
  return { requests: a.requests + b.requests, bytes: a.bytes + b.bytes }
}
