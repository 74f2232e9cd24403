import type { ReactNode } from 'react'
import type { Connection } from './use-inbox-stream.js'
import { useNow } from './use-now.js'

export interface ConnectionIndicatorProps {
  readonly connection: Connection
}

/** The stream's state in one word. Screen readers skip the countdown, which would interrupt every second. */
export function ConnectionIndicator({ connection }: ConnectionIndicatorProps): ReactNode {
  return (
    <div className="connection" data-testid="connection" data-state={connection.state} title={connection.reason}>
      <span className="dot" aria-hidden="true" />
      <span role="status">{wordFor(connection)}</span>
      {connection.state === 'waiting' && connection.retryAt !== undefined && <Countdown until={connection.retryAt} />}
    </div>
  )
}

function wordFor({ state, isReconnect }: Connection): string {
  switch (state) {
    case 'open':
      return 'Connected'
    case 'polling':
      return 'Connected (polling)'
    case 'waiting':
      return 'Reconnecting'
    case 'connecting':
      return isReconnect ? 'Reconnecting…' : 'Connecting…'
    case 'closed':
      return 'Disconnected'
  }
}

function Countdown({ until }: { readonly until: number }): ReactNode {
  const seconds = Math.max(0, Math.ceil((until - useNow(250)) / 1000))
  return <span aria-hidden="true">in {seconds} s</span>
}
