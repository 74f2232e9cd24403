import { type ReactNode, useEffect, useState } from 'react'
import { type Api, ApiError } from './api.js'
import { Avatar, Icon, PROVIDER_NAMES } from './marks.js'
import { Messages } from './messages.js'
import { ReplyBox } from './reply-box.js'
import type { Session } from './session.js'
import type { ConversationSummary } from './types.js'
import { LIST_HREF } from './use-selection.js'
import { useThread } from './use-thread.js'

export interface ThreadViewProps {
  readonly session: Session
  readonly api: Api
  readonly conversationId: string
  /** Unknown while the list is loaded, and where there is none of this id. */
  readonly conversation: ConversationSummary | undefined
  readonly onRead: (id: string) => void
}

export function ThreadView({ session, api, conversationId, conversation, onRead }: ThreadViewProps): ReactNode {
  const { thread, loaded, error, reload, send, retry } = useThread(session, api, conversationId)
  const visible = useVisible()
  const unread = conversation?.unread ?? 0

  // biome-ignore lint/correctness/useExhaustiveDependencies: read means: there is something unread, and it is in view
  useEffect(() => {
    if (unread === 0 || !visible || !loaded) return
    onRead(conversationId)
    // Should it fail, the badge is back with the next list.
    api.markRead(conversationId).catch(() => undefined)
  }, [unread, visible, loaded, conversationId, api])

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
              <p>{PROVIDER_NAMES[conversation.provider]}</p>
            </div>
          </>
        )}
      </header>
      {error !== undefined ? (
        <ThreadError error={error} onRetry={reload} />
      ) : (
        <Messages thread={thread} user={session.user} onRetry={retry} />
      )}
      {loaded && error === undefined && <ReplyBox contact={contact} onSend={send} />}
    </section>
  )
}

function ThreadError({ error, onRetry }: { readonly error: Error; readonly onRetry: () => void }): ReactNode {
  const gone = error instanceof ApiError && error.status === 404
  return (
    <div className="notice" role="alert">
      <p>{gone ? 'This conversation is not there any more.' : `The messages could not be loaded: ${error.message}`}</p>
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
