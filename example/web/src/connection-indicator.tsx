import type { ReactNode } from 'react'
import type { Connection } from './use-inbox-stream.js'
import { useNow } from './use-now.js'

export interface ConnectionIndicatorProps {
  readonly connection: Connection
}

/** One word for the stream's state. While it waits, the seconds are for the eye alone: read aloud they would be noise. */
export function ConnectionIndicator({ connection }: ConnectionIndicatorProps): ReactNode {
  return (
    <div className="connection" data-testid="connection" data-state={connection.state} title={connection.reason}>
      <span className="dot" aria-hidden="true" />
      <span role="status">{wordFor(connection)}</span>
      {connection.state === 'waiting' && connection.retryAt !== undefined && <Countdown until={connection.retryAt} />}
    </div>
  )
}

function wordFor({ state, again }: Connection): string {
  switch (state) {
    case 'open':
      return 'Connected'
    case 'polling':
      return 'Connected (polling)'
    case 'waiting':
      return 'Reconnecting'
    case 'connecting':
      return again ? 'Reconnecting…' : 'Connecting…'
    case 'closed':
      return 'Disconnected'
  }
}

function Countdown({ until }: { readonly until: number }): ReactNode {
  const seconds = Math.max(0, Math.ceil((until - useNow(250)) / 1000))
  return <span aria-hidden="true">in {seconds} s</span>
}
