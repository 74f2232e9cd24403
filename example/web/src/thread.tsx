import { type ReactNode, useEffect, useState } from 'react'
import { type Api, ApiError } from './api.js'
import { Avatar, Icon, PROVIDER_NAMES } from './marks.js'
import { Messages } from './messages.js'
import { ReplyBox } from './reply-box.js'
import type { ConversationSummary } from './types.js'
import { useDashboardPart } from './use-dashboard.js'
import { LIST_HREF } from './use-selection.js'
import { useThread } from './use-thread.js'

export interface ThreadViewProps {
  readonly user: string
  readonly api: Api
  /** Whether the list is loaded: a thread must be loaded after it. */
  readonly isListLoaded: boolean
  readonly conversationId: string
  /** `undefined` until the list is loaded, and if no conversation has the id. */
  readonly conversation: ConversationSummary | undefined
  readonly onRead: (id: string) => void
}

/** Shows one conversation. Set a `key`, because the conversation must not change while it is mounted. */
export function ThreadView(props: ThreadViewProps): ReactNode {
  const { user, api, isListLoaded, conversationId, conversation, onRead } = props
  const { thread, error, reload, send, retry } = useThread(api, conversationId, isListLoaded)
  const features = useDashboardPart('features')
  const account = useDashboardPart('channels')?.find(({ id }) => id === conversation?.accountId)
  const visible = useVisible()
  const unread = conversation?.unread ?? 0
  const { loaded } = thread

  useEffect(() => {
    // Unread messages count as read when they are visible.
    if (unread > 0 && visible && loaded) onRead(conversationId)
  }, [unread, visible, loaded, conversationId, onRead])

  const contact = conversation?.contact ?? ''
  return (
    <section
      className="thread"
      aria-label={contact === '' ? 'Conversation' : `Conversation with ${contact}`}
      data-testid="thread"
    >
      <header className="bar">
        <a className="round back" href={LIST_HREF} aria-label="All conversations">
          <Icon name="back" />
        </a>
        {conversation !== undefined && (
          <>
            <Avatar name={contact} provider={conversation.provider} />
            <div className="titles">
              <h2>{contact}</h2>
              <p>
                {PROVIDER_NAMES[conversation.provider]}
                {account !== undefined && ` · ${account.name}`}
              </p>
            </div>
          </>
        )}
      </header>
      {error !== null ? (
        <ThreadError error={error} onRetry={reload} />
      ) : (
        <Messages thread={thread} user={user} onRetry={retry} />
      )}
      {loaded && error === null && features?.replies !== false && <ReplyBox contact={contact} onSend={send} />}
    </section>
  )
}

function ThreadError({ error, onRetry }: { readonly error: Error; readonly onRetry: () => void }): ReactNode {
  const gone = error instanceof ApiError && error.status === 404
  return (
    <div className="notice" role="alert">
      <p>{gone ? 'This conversation no longer exists.' : `The messages could not be loaded: ${error.message}`}</p>
      {gone ? (
        <a className="button" href={LIST_HREF}>
          All conversations
        </a>
      ) : (
        <button type="button" onClick={onRetry}>
          Try again
        </button>
      )}
    </div>
  )
}

function useVisible(): boolean {
  const [visible, setVisible] = useState(() => document.visibilityState === 'visible')
  useEffect(() => {
    const onChange = (): void => setVisible(document.visibilityState === 'visible')
    document.addEventListener('visibilitychange', onChange)
    return () => document.removeEventListener('visibilitychange', onChange)
  }, [])
  return visible
}
