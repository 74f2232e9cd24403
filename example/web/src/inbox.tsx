/** The signed-in page: the list on the left, a conversation on the right; on a phone one of the two. */
import { type ReactNode, useCallback, useEffect, useMemo, useState } from 'react'
import { createApi } from './api.js'
import { ConnectionIndicator } from './connection-indicator.js'
import { ConversationList } from './conversation-list.js'
import { Avatar, Icon, Logo } from './marks.js'
import type { Session } from './session.js'
import { ThreadView } from './thread.js'
import type { ConversationSummary, Dashboard, Message } from './types.js'
import { useConversations } from './use-conversations.js'
import { useSelection } from './use-selection.js'

export interface InboxProps {
  readonly session: Session
  readonly onSignOut: () => void
}

export function Inbox({ session, onSignOut }: InboxProps): ReactNode {
  const api = useMemo(() => createApi(session), [session])
  const dashboard = useDashboard(api.dashboard)
  const selected = useSelection()
  const [announcement, setAnnouncement] = useState('')
  const onIncoming = useCallback((message: Message, conversation: ConversationSummary) => {
    setAnnouncement(`${conversation.contact}: ${message.text}`)
  }, [])
  const { conversations, loaded, error, connection, reload, markRead } = useConversations(session, api, onIncoming)
  const unread = conversations.reduce((sum, conversation) => sum + conversation.unread, 0)

  useEffect(() => {
    document.title = unread > 0 ? `(${unread}) Inbox` : 'Inbox'
  }, [unread])

  return (
    <div className="inbox" data-selected={selected !== undefined}>
      <nav className="side" aria-label="Conversations">
        <header className="bar">
          <Logo />
          <div className="titles">
            <h1>{dashboard?.tenant.name ?? 'Inbox'}</h1>
            <ConnectionIndicator connection={connection} />
          </div>
        </header>
        {error !== undefined && (
          <div className="notice" role="alert">
            <p>The conversations could not be loaded: {error.message}</p>
            <button type="button" onClick={reload}>
              Try again
            </button>
          </div>
        )}
        {loaded && conversations.length === 0 && <p className="hint">No conversations yet.</p>}
        <ConversationList conversations={conversations} selected={selected} />
        <footer className="account">
          <Avatar name={dashboard?.profile.name ?? session.user} />
          <span className="name" data-testid="user">
            {dashboard?.profile.name ?? session.user}
          </span>
          <button
            type="button"
            className="round"
            onClick={onSignOut}
            aria-label="Sign out"
            title="Sign out"
            data-testid="sign-out"
          >
            <Icon name="signOut" />
          </button>
        </footer>
      </nav>
      <main>
        {selected === undefined ? (
          <div className="empty">
            <Icon name="chats" />
            <p>Choose a conversation</p>
          </div>
        ) : (
          <ThreadView
            key={selected}
            session={session}
            api={api}
            conversationId={selected}
            conversation={conversations.find(({ id }) => id === selected)}
            onRead={markRead}
          />
        )}
      </main>
      <div className="visually-hidden" aria-live="polite" data-testid="announcement">
        {announcement}
      </div>
    </div>
  )
}

/** Names only: the page works without. */
function useDashboard(load: (signal: AbortSignal) => Promise<Dashboard>): Dashboard | undefined {
  const [dashboard, setDashboard] = useState<Dashboard>()
  useEffect(() => {
    const abort = new AbortController()
    load(abort.signal).then(setDashboard, () => undefined)
    return () => abort.abort()
  }, [load])
  return dashboard
}
