/** Controls the simulated customers. */
import { useCallback, useEffect, useState } from 'react'
import type { Api } from '../api.js'

export interface TrafficControl {
  /** The conversation to which they write; `undefined` until the server answered. */
  readonly conversationId: string | undefined
  /** When they stop, in ms since 1970 by this page's clock; `undefined`: they do not write. */
  readonly endsAt: number | undefined
  /** The server's clock minus this page's clock, in ms. */
  readonly clockOffsetMs: number
  readonly error: string | undefined
  readonly send: (method: 'GET' | 'POST' | 'DELETE') => void
}

export function useTraffic(api: Api): TrafficControl {
  const [conversationId, setConversationId] = useState<string>()
  const [endsAt, setEndsAt] = useState<number>()
  const [clockOffsetMs, setClockOffsetMs] = useState(0)
  const [error, setError] = useState<string>()

  const send = useCallback<TrafficControl['send']>(
    (method) => {
      const sentAt = Date.now()
      api.traffic(method).then(
        (state) => {
          const offsetMs = offsetOf(state.now, sentAt, Date.now())
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

  useEffect(() => send('GET'), [send])

  useEffect(() => {
    if (endsAt === undefined) return
    const timer = setTimeout(setEndsAt, endsAt - Date.now(), undefined)
    return () => clearTimeout(timer)
  }, [endsAt])

  return { conversationId, endsAt, clockOffsetMs, error, send }
}

/** 0 if both clocks can be equal: half of the duration of a slow response would be a worse estimate. */
function offsetOf(serverMs: number, sentAt: number, answeredAt: number): number {
  return serverMs >= sentAt && serverMs <= answeredAt ? 0 : serverMs - (sentAt + answeredAt) / 2
}
