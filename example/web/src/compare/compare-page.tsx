/** The page: the traffic control, the cost of both sides, and the messages that both sides show. */
import { type ReactNode, useState } from 'react'
import { createApi } from '../api.js'
import { Logo } from '../marks.js'
import { bytes, count, duration } from '../plots/format.js'
import type { Session } from '../session.js'
import { useNow } from '../use-now.js'
import { MetricCard } from './metric-card.js'
import { SidePanel } from './side-panel.js'
import { type Comparison, useComparison } from './use-comparison.js'
import { type TrafficControl, useTraffic } from './use-traffic.js'

export function ComparePage({ session }: { readonly session: Session }): ReactNode {
  const [api] = useState(() => createApi(session))
  const traffic = useTraffic(api)
  const { views, frames } = useComparison(session, traffic.conversationId, traffic.clockOffsetMs)
  const last = frames.at(-1)
  return (
    <div className="compare">
      <header className="bar">
        <Logo />
        <div className="titles">
          <h1>Polling and SSE</h1>
          <p>The same dashboard twice, side by side</p>
        </div>
        <a className="button" href="/">
          Inbox
        </a>
      </header>
      <main>
        <TrafficPanel traffic={traffic} views={views} />
        <div className="metrics">
          <MetricCard
            title="Requests"
            hint="in the last minute"
            frames={frames}
            value={({ lastMinute }) => lastMinute.requests}
            format={count}
            top={20}
            note="Each stream is one request, for as long as it is open."
          />
          <MetricCard
            title="Bytes"
            hint="in the last minute"
            frames={frames}
            value={({ lastMinute }) => lastMinute.bytes}
            format={bytes}
            top={10_240}
            step={1024}
            note="Response bodies, without headers. A poll transfers the complete list, a stream only the changes."
          />
          <MetricCard
            title="Delay"
            hint="from stored to shown, median"
            frames={frames}
            value={({ delays }) => delays?.lastMs}
            now={({ delays }) => delays?.medianMs}
            format={duration}
            top={10_000}
            note="The lines show the longest delay of the last messages."
          />
        </div>
        <div className="sides">
          <SidePanel
            name="polling"
            title="Polling"
            how="Requests the list every 5 s, the thread every 10 s, the channels every 20 s, the profile every 60 s."
            view={views.polling}
            cost={last?.polling}
          />
          <SidePanel
            name="streaming"
            title="SSE"
            how="Requests each of them once, then opens a stream for the list and one for the open thread."
            view={views.streaming}
            cost={last?.streaming}
          />
        </div>
      </main>
    </div>
  )
}

interface TrafficPanelProps {
  readonly traffic: TrafficControl
  readonly views: Comparison['views']
}

function TrafficPanel({ traffic: { conversationId, endsAt, error, send }, views }: TrafficPanelProps): ReactNode {
  const running = endsAt !== undefined
  return (
    <section className="panel traffic" aria-label="Traffic">
      <button
        type="button"
        className={running ? '' : 'primary'}
        disabled={conversationId === undefined}
        onClick={() => send(running ? 'DELETE' : 'POST')}
        data-testid="traffic"
      >
        {running ? 'Stop the customers' : 'Let customers write'}
      </button>
      <p className="hint">
        {running ? (
          <>
            Three customers write a message every 2 s, half of them in the open thread, for another{' '}
            <Countdown until={endsAt} />.
          </>
        ) : (
          'Both sides run without traffic: compare their cost. Then let three customers write, for two minutes.'
        )}
      </p>
      <Agreement views={views} />
      {error !== undefined && (
        <p className="notice" role="alert">
          {error}{' '}
          <button type="button" onClick={() => send('GET')}>
            Try again
          </button>
        </p>
      )}
    </section>
  )
}

/** Whether both sides show the same messages. */
function Agreement({ views: { polling, streaming } }: Pick<TrafficPanelProps, 'views'>): ReactNode {
  const polled = new Set(polling.shown.map(({ message }) => message.id))
  const behind = streaming.shown.filter(({ message }) => !polled.has(message.id)).length
  return (
    <p className={`state ${behind === 0 ? 'same' : 'behind'}`} data-testid="agreement" data-behind={behind}>
      {behind === 0 ? 'Both show the same messages' : `Polling does not show ${behind} yet`}
    </p>
  )
}

function Countdown({ until }: { readonly until: number }): ReactNode {
  const seconds = Math.max(0, Math.ceil((until - useNow(250)) / 1000))
  return <span className="countdown">{seconds} s</span>
}
