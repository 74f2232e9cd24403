/** The page of a signed-in user: the list on the left, a conversation on the right. A phone shows one of the two. */
import { QueryClientProvider } from '@tanstack/react-query'
import { SseProvider } from 'express-sse-kit/react'
import { type ReactNode, useEffect, useState } from 'react'
import { createApi } from './api.js'
import { ConnectionIndicator } from './connection-indicator.js'
import { ConversationList } from './conversation-list.js'
import { Avatar, Icon, Logo } from './marks.js'
import { createQueryClient } from './query-client.js'
import type { Session } from './session.js'
import { ThreadView } from './thread.js'
import { useConversations } from './use-conversations.js'
import { useDashboardInit, useDashboardPart } from './use-dashboard.js'
import { useConnection, useInboxStream } from './use-inbox-stream.js'
import { useSelection } from './use-selection.js'

export interface InboxProps {
  readonly session: Session
  readonly onSignOut: () => void
}

/** The inbox of one user, with its own cache. Set a `key` if the user can change. */
export function Inbox(props: InboxProps): ReactNode {
  const { user, tenant, token } = props.session
  const [client] = useState(createQueryClient)
  return (
    <QueryClientProvider client={client}>
      <SseProvider token={token} tabs identity={`${tenant}/${user}`} pollUrl="poll/conversations">
        <InboxPage {...props} />
      </SseProvider>
    </QueryClientProvider>
  )
}

function InboxPage({ session, onSignOut }: InboxProps): ReactNode {
  const [api] = useState(() => createApi(session))
  useDashboardInit(api)
  const tenant = useDashboardPart('tenant')
  const selected = useSelection()
  const [announcement, setAnnouncement] = useState('')
  const { conversations, cursor, error, reload, markRead } = useConversations(api)
  const isListLoaded = cursor !== undefined
  useInboxStream({
    user: session.user,
    cursor,
    onIncoming: ({ text }, { contact }) => setAnnouncement(`${contact}: ${text}`),
  })
  const connection = useConnection(isListLoaded)
  const unread = conversations.reduce((sum, conversation) => sum + conversation.unread, 0)

  useEffect(() => {
    document.title = unread > 0 ? `(${unread}) Inbox` : 'Inbox'
  }, [unread])

  return (
    <div className="inbox" data-selected={selected !== undefined}>
      {selected !== undefined && <SkipLink />}
      <nav className="side" aria-label="Conversations">
        <header className="bar">
          <Logo />
          <div className="titles">
            <h1>{tenant?.name ?? 'Inbox'}</h1>
            <ConnectionIndicator connection={connection} />
          </div>
        </header>
        {error !== null && (
          <div className="notice" role="alert">
            <p>The conversations could not be loaded: {error.message}</p>
            <button type="button" onClick={reload}>
              Try again
            </button>
          </div>
        )}
        {isListLoaded && conversations.length === 0 && <p className="hint">No conversations yet.</p>}
        <ConversationList conversations={conversations} selected={selected} />
        <Account user={session.user} onSignOut={onSignOut} />
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
            user={session.user}
            api={api}
            isListLoaded={isListLoaded}
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

/** A button, because a link would change the URL's fragment, which identifies the open conversation. */
function SkipLink(): ReactNode {
  return (
    <button type="button" className="skip" onClick={() => document.getElementById('reply')?.focus()}>
      Skip to the reply
    </button>
  )
}

function Account({ user, onSignOut }: { readonly user: string; readonly onSignOut: () => void }): ReactNode {
  const name = useDashboardPart('profile')?.name ?? user
  const features = useDashboardPart('features')
  return (
    <footer className="account">
      <Avatar name={name} />
      <span className="name" data-testid="user">
        {name}
      </span>
      {features?.comparison && (
        <a
          className="round"
          href="/compare"
          aria-label="Compare with polling"
          title="Compare with polling"
          data-testid="compare"
        >
          <Icon name="compare" />
        </a>
      )}
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
  )
}
