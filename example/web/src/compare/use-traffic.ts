/** The simulated customers: whether they write, and until when. */
import { useCallback, useEffect, useState } from 'react'
import type { Api } from '../api.js'

export interface TrafficControl {
  /** `undefined` until the server has said. */
  readonly conversationId: string | undefined
  /** When they end by themselves, in ms since 1970 by this page's clock; `undefined`: they do not write. */
  readonly endsAt: number | undefined
  /** What to add to this page's clock to have the server's, in ms. */
  readonly clockOffsetMs: number
  readonly error: string | undefined
  readonly ask: (method: 'GET' | 'POST' | 'DELETE') => void
}

export function useTraffic(api: Api): TrafficControl {
  const [conversationId, setConversationId] = useState<string>()
  const [endsAt, setEndsAt] = useState<number>()
  const [clockOffsetMs, setClockOffsetMs] = useState(0)
  const [error, setError] = useState<string>()

  const ask = useCallback<TrafficControl['ask']>(
    (method) => {
      const askedAt = Date.now()
      api.traffic(method).then(
        (state) => {
          const offsetMs = offsetOf(state.now, askedAt, Date.now())
          setError(undefined)
          setClockOffsetMs(offsetMs)
          setConversationId(state.conversationId)
          setEndsAt(state.endsAt === null ? undefined : state.endsAt - offsetMs)
        },
        (reason: unknown) => setError(reason instanceof Error ? reason.message : String(reason)),
      )
    },
    [api],
  )

  useEffect(() => ask('GET'), [ask])

  useEffect(() => {
    if (endsAt === undefined) return
    const timer = setTimeout(setEndsAt, endsAt - Date.now(), undefined)
    return () => clearTimeout(timer)
  }, [endsAt])

  return { conversationId, endsAt, clockOffsetMs, error, ask }
}

/** 0 where both clocks may be the same: half of how long a slow answer took would be a guess, and worse than that. */
function offsetOf(serverMs: number, askedAt: number, answeredAt: number): number {
  return serverMs >= askedAt && serverMs <= answeredAt ? 0 : serverMs - (askedAt + answeredAt) / 2
}
