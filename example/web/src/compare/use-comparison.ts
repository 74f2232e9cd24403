/** Runs both sides and samples what they show and cost, over the last minute. */
import { useEffect, useRef, useState } from 'react'
import { flushSync } from 'react-dom'
import { createApi } from '../api.js'
import { SHOWN_MS } from '../plots/chart.js'
import type { Session } from '../session.js'
import type { ConversationSummary, Message } from '../types.js'
import { createDelays, type DelaySummary, type Shown } from './delays.js'
import { createMeter, type Usage } from './meter.js'
import { startPolling } from './polling.js'
import type { StartSide } from './side.js'
import { startStreaming } from './streaming.js'

export type SideName = 'polling' | 'streaming'

/** The messages and counts that a side shows. */
export interface View {
  readonly shown: readonly Shown[]
  readonly unread: number
  readonly trouble: string | undefined
}

/** The network usage and the delays of a side. */
export interface Cost {
  readonly total: Usage
  readonly lastMinute: Usage
  readonly delays: DelaySummary | undefined
}

export interface Frame extends Readonly<Record<SideName, Cost>> {
  readonly at: number
}

export interface Comparison {
  readonly views: Readonly<Record<SideName, View>>
  readonly frames: readonly Frame[]
}

const SAMPLE_MS = 500
const NOTHING: View = { shown: [], unread: 0, trouble: undefined }
const NO_VIEWS = { polling: NOTHING, streaming: NOTHING }

/** Restarts for another conversation. @param clockOffsetMs the server's clock minus this page's clock */
export function useComparison(session: Session, conversationId: string | undefined, clockOffsetMs: number): Comparison {
  const [views, setViews] = useState<Comparison['views']>(NO_VIEWS)
  const [frames, setFrames] = useState<readonly Frame[]>([])
  const offset = useRef(clockOffsetMs)
  offset.current = clockOffsetMs

  useEffect(() => {
    if (conversationId === undefined) return

    function run(name: SideName, start: StartSide) {
      const meter = createMeter()
      const delays = createDelays()
      const view = (changes: Partial<View>): void =>
        setViews((before) => ({ ...before, [name]: { ...before[name], ...changes } }))
      const stop = start({
        session,
        meter,
        api: createApi(session, meter.fetch),
        conversationId: String(conversationId),
        screen: {
          conversations: (items) => view({ unread: unreadIn(items) }),
          messages(items) {
            // Renders synchronously, so that the clock is read after the messages are on the page.
            flushSync(() => view({ shown: withNew(delays.shown(), items) }))
            delays.add(items, Date.now() + offset.current)
            view({ shown: delays.shown() })
          },
          trouble: (trouble) => view({ trouble }),
        },
      })
      const cost = (): Cost => ({ total: meter.total(), lastMinute: meter.lastMinute(), delays: delays.summary() })
      return { cost, stop }
    }

    const polling = run('polling', startPolling)
    const streaming = run('streaming', startStreaming)
    const sampling = setInterval(() => {
      const frame = { at: Date.now(), polling: polling.cost(), streaming: streaming.cost() }
      setFrames((before) => [...before.filter(({ at }) => at > frame.at - SHOWN_MS), frame])
    }, SAMPLE_MS)
    return () => {
      clearInterval(sampling)
      polling.stop()
      streaming.stop()
      setViews(NO_VIEWS)
      setFrames([])
    }
  }, [session, conversationId])

  return { views, frames }
}

function unreadIn(items: readonly ConversationSummary[]): number {
  return items.reduce((sum, { unread }) => sum + unread, 0)
}

function withNew(shown: readonly Shown[], items: readonly Message[]): readonly Shown[] {
  const known = new Set(shown.map(({ message }) => message.id))
  const fresh = items.filter(({ id }) => !known.has(id))
  return [...shown, ...fresh.map((message) => ({ message, delayMs: undefined }))]
}
