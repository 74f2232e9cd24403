/** Counts what goes over the network: requests as they are made, and the bytes of the answers' bodies as they come. */

export interface Usage {
  readonly requests: number
  readonly bytes: number
}

export interface Meter {
  /** To be used in place of the global one. The browser's cache is left out, so that what is counted did come. */
  readonly fetch: typeof fetch
  /** Since the beginning. */
  total(): Usage
  lastMinute(): Usage
}

interface Entry extends Usage {
  readonly at: number
}

const MINUTE_MS = 60_000
const NOTHING: Usage = { requests: 0, bytes: 0 }

/** @param now in ms, of a clock that only goes forward */
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
