import type { ReactNode } from 'react'
import { Avatar } from './marks.js'
import { shortAge } from './time.js'
import type { ConversationSummary } from './types.js'
import { useNow } from './use-now.js'
import { hrefOf } from './use-selection.js'

export interface ConversationListProps {
  readonly conversations: readonly ConversationSummary[]
  readonly selected: string | undefined
}

export function ConversationList({ conversations, selected }: ConversationListProps): ReactNode {
  const now = useNow(20_000)
  return (
    <ul className="conversations" data-testid="conversations">
      {conversations.map((conversation) => (
        <li key={conversation.id}>
          <Row conversation={conversation} current={conversation.id === selected} now={now} />
        </li>
      ))}
    </ul>
  )
}

interface RowProps {
  readonly conversation: ConversationSummary
  readonly current: boolean
  readonly now: number
}

function Row({ conversation: { id, contact, provider, lastText, lastAt, unread }, current, now }: RowProps): ReactNode {
  return (
    <a
      className="row"
      href={hrefOf(id)}
      aria-current={current ? 'true' : undefined}
      data-testid={`conversation-${id}`}
      data-unread={unread}
    >
      <Avatar name={contact} provider={provider} />
      <span className="name">{contact}</span>
      <time dateTime={lastAt}>{shortAge(lastAt, now)}</time>
      <span className="preview">{lastText}</span>
      {unread > 0 && (
        <span className="badge">
          {unread > 99 ? '99+' : unread}
          <span className="visually-hidden"> unread</span>
        </span>
      )}
    </a>
  )
}
